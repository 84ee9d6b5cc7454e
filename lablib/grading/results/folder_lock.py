"""The lock of a folder of grades: two runs in one folder would draw different seeds."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from lablib.errors import LabError


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Lock the folder. Raises LabError if another process has locked it.

    The system removes the lock when this process ends, however it ends.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor, folder):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LabError(
            "Another run of grade writes into this folder.",
            saw=str(folder),
            do="wait until it has ended, or name another folder with --out",
        ) from None

"""Files that one process writes and its ranks read: one copy in memory for all of them."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lablib.errors import LabError


class Folder:
    """A temporary folder, removed when this object is forgotten or its process ends.

    What travels to the ranks is its path: they read, and remove nothing.
    """

    def __init__(self):
        # The owner's number, so that whoever finds the folder can tell whether it is still in use.
        self.path = Path(tempfile.mkdtemp(prefix=f"lablib-task-{os.getpid()}-"))
        weakref.finalize(self, _remove, self.path, os.getpid())

    def __reduce__(self):
        return _Visited, (self.path,)


class _Visited:
    """The folder, seen from another process."""

    def __init__(self, path: Path):
        self.path = path


@contextmanager
def writing() -> Iterator[None]:
    """Say what to do when the files cannot be written."""
    try:
        yield
    except OSError as error:
        raise LabError(
            "A file for the ranks to read cannot be written.",
            saw=str(error),
            do="free space there, or set TMPDIR to a folder on another disk",
        ) from error


def _remove(path, pid):
    if os.getpid() == pid:  # not a process that was forked from the owner
        shutil.rmtree(path, ignore_errors=True)

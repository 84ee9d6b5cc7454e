"""Files that one process writes and its ranks read, so that all share one copy in memory."""

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
    """A temporary folder that is removed with this object or when its process ends.

    Only its path is sent to the ranks. They read the files and remove nothing.
    """

    def __init__(self):
        # The name has the owner's process id, so that others can see whether it is still in use.
        self.path = Path(tempfile.mkdtemp(prefix=f"lablib-task-{os.getpid()}-"))
        weakref.finalize(self, _remove, self.path, os.getpid())

    def __reduce__(self):
        return _Visited, (self.path,)


class _Visited:
    """The folder, as another process sees it."""

    def __init__(self, path: Path):
        self.path = path


@contextmanager
def writing() -> Iterator[None]:
    """Raise LabError, which says what to do, if the files cannot be written."""
    try:
        yield
    except OSError as error:
        raise LabError(
            "A file that the ranks need cannot be written.",
            saw=str(error),
            do="free space there, or set TMPDIR to a folder on another disk",
        ) from error


def _remove(path, pid):
    if os.getpid() == pid:  # not a process that was forked from the owner
        shutil.rmtree(path, ignore_errors=True)

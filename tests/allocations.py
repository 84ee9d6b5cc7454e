"""Bytes that TensorFlow asks its allocator for, whoever asks: read from the allocator's own log.

Only one of its allocators keeps a log, and which is taken is chosen when TensorFlow is loaded: so
what is watched runs in a process that was started with the `SETTINGS`.

Not in it: memory of NumPy's, which `tf.constant` shares where it is aligned by chance. So a figure
may lack some arrays in one run, and not in the next.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETTINGS = {
    "TF_CPU_ALLOCATOR_USE_BFC": "1",
    "TF_CPP_VMODULE": "bfc_allocator=3",
    "TF_CPP_MIN_LOG_LEVEL": "0",
    "GRPC_VERBOSITY": "INFO",  # it would silence what is not its own too
}
_MARK = "the watched part\n"
_GIVEN = re.compile(r"AllocateRaw \S+ +(\d+) 0x")
_TAKEN_BACK = re.compile(r"DeallocateRaw \S+ +(\d+)")


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Meanwhile what this process writes on standard error goes to a file."""
    ours, theirs = os.dup(2), os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(theirs, 2)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours), os.close(theirs)


def mark() -> None:
    """A part ends here, and the next begins."""
    os.write(2, _MARK.encode())


def most_bytes(path: Path) -> list[int]:
    """The most bytes that were in use at once in each part, the one before the first mark too.

    Bytes as asked for, before the allocator rounds up.
    """
    now, most = 0, [0]
    with open(path, errors="replace") as lines:
        for line in lines:
            if line == _MARK:
                most.append(now)
            elif given := _GIVEN.search(line):
                now += int(given[1])
            elif taken_back := _TAKEN_BACK.search(line):
                now -= int(taken_back[1])
            most[-1] = max(most[-1], now)
    return most

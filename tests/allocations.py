"""Count the bytes that TensorFlow asks its allocator for, by reading the allocator's own log.

Only one of TensorFlow's allocators keeps a log, and TensorFlow chooses its allocator when it is
loaded. So the observed program runs in a process that was started with `SETTINGS`.

NumPy's memory is not in the log. `tf.constant` shares NumPy's memory if it happens to be aligned,
so some arrays may be counted in one run but not in the next.
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
    "GRPC_VERBOSITY": "INFO",  # a higher level would also silence the allocator's messages
}
_MARK = "the watched part\n"
_GIVEN = re.compile(r"AllocateRaw \S+ +(\d+) 0x")
_TAKEN_BACK = re.compile(r"DeallocateRaw \S+ +(\d+)")


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Inside this context, this process's standard error goes to a file."""
    ours, theirs = os.dup(2), os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(theirs, 2)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours), os.close(theirs)


def mark() -> None:
    """End one part of the log, and begin the next."""
    os.write(2, _MARK.encode())


def most_bytes(path: Path) -> list[int]:
    """Return the most bytes in use at once in each part, including the one before the first mark.

    These are the bytes that were asked for, before the allocator rounds up.
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

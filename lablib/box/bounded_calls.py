"""Limit the time and the memory for reading data that a learner's process has written."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lablib.box.limits import data_bytes

_SECONDS, _BYTES = 5, 1 << 30


class TooMuch(Exception):
    """The text would take forever to read."""


@contextmanager
def bounded(seconds: float = _SECONDS, nbytes: int = _BYTES) -> Iterator[None]:
    """Raise TooMuch or MemoryError if the block exceeds a limit.

    seconds   processor seconds, including the system's, so that other load on the computer makes no
              difference
    nbytes    bytes of memory beyond those in use at the start

    Only the main thread can be interrupted; in other threads nothing is limited.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _interrupted_after(seconds)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = data_bytes() + nbytes
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _interrupted_after(seconds):
    """Let the system interrupt this process after `seconds`; return the previous signal handler."""

    def interrupt(*_):
        raise TooMuch(f"it takes more than {seconds} s to be read")

    before = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    return before

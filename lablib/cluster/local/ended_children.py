"""Processes that this one started, or adopted, and that have ended."""

from __future__ import annotations

import os
from collections.abc import Iterator


def ended_children() -> Iterator[tuple[int, int]]:
    """(pid, exit code) of each that nobody has asked for yet; below zero: the signal that ended it.

    Does not wait.
    """
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)

"""A process that ends when its parent ends, however the parent ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Let Linux kill this process when its parent dies. Elsewhere only check that it is alive.

    parent   the process id of the parent, which the parent itself passes on: if this process has
             another parent by now, that one has died, and this process ends at once
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the death signal was in place

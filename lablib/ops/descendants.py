"""End everything that this process has started, however far down, and let it adopt orphans."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterable

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_SWEEPS = 50


def adopt_orphans() -> None:
    """Become the parent of processes whose own parent ends, so that `end` finds them (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end(spared: Iterable[int] = ()) -> None:
    """Kill all descendants of this process and wait for them.

    spared   children that stay alive, with all their descendants
    """
    spared = set(spared)
    for _ in range(_SWEEPS):
        children = [each for each in psutil.Process().children() if each.pid not in spared]
        if not children:
            return
        for process in [*children, *_below(children)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for child in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, 0)


def _below(processes):
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            yield from process.children(recursive=True)

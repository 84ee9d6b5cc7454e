"""End everything that this process has started, however far down."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

import psutil

_SWEEPS = 50


def end(spared: Iterable[int] = ()) -> None:
    """Kill all descendants of this process and wait for them.

    It finds those whose parent has ended only if this process adopts orphans.

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

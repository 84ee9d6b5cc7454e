"""Compare the program of a dry run with that of a run that computed the same training."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest

from lablib.cluster.run import Run

# In a computed run, a thread of gloo may free a message's memory late. Then a rank holds up to an
# eighth more than it needs. In these strategies this happens in most steps. All their ranks do the
# same, so the smallest value of any rank is what a rank needs.
FREED_LATE = {"zero3_by_hand", "tensor_parallel_by_hand"}
CLOSE = 0.01
ATTEMPTS = 5


def differences(trained: Callable[[bool], Run], name: str) -> list[str]:
    """Return the complaints about a dry run; if memory was freed late, compute again.

    trained   returns a run of the strategy `name`, which is dry if its argument is True
    """
    dry, found, needed = trained(True), [], None
    for _ in range(ATTEMPTS):
        computed = trained(False)
        needed = [min(pair) for pair in zip(needed or held(computed), held(computed), strict=True)]
        found = complaints(computed, dry, _freed(needed, name))
        if not found or any("operation" in each for each in found):
            break
    return found


def _freed(needed, name):
    return [min(needed)] * len(needed) if name in FREED_LATE else needed


def complaints(computed: Run, dry: Run, needed: list[int] | None = None) -> list[str]:
    """Return every difference between the programs, and live bytes that differ by over 1 %.

    needed   the fewest bytes that each rank held in any computed run; None: those of this run
    """
    found = [
        f"rank {rank}, operation {number}: {ours} instead of {theirs}"
        for rank, programs in enumerate(zip_longest(computed.program, dry.program))
        for number, (theirs, ours) in enumerate(zip_longest(*programs))
        if ours != theirs
    ]
    found += [
        f"rank {rank} holds {ours} bytes instead of {theirs}"
        for rank, (theirs, ours) in enumerate(zip(needed or held(computed), held(dry), strict=True))
        if abs(ours - theirs) > CLOSE * theirs
    ]
    return found


def held(run: Run) -> list[int]:
    """Return the fewest bytes that each rank held in a step after the first."""
    return [min(record.live_bytes[1:] or record.live_bytes) for record in run.records]

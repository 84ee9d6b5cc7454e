"""Measure two things in turn, A B A B ..., and report the ratio pair by pair.

A computer's speed drifts, but the ratio of neighbouring measurements does not. Medians are
reported, with the range. A busy computer cannot judge: `refusal` says why, before and after the
measurement.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from lablib.computer.facts import cores
from lablib.training import busy_computer

NOT_JUDGED = 2  # exit status: the promise is neither kept nor broken


@dataclass(frozen=True)
class Claim:
    """A promise and its measurement: `value` must be at most, or at least, `bound`."""

    text: str
    value: float
    bound: float
    at_most: bool = True

    @property
    def holds(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self):
        sign = "<=" if self.at_most else ">="
        verdict = "ok    " if self.holds else "MISSED"
        return f"{verdict} {self.text}: {self.value:.3g} ({sign} {self.bound:g})"


def seconds(do: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    do()
    return time.perf_counter() - start_s


def in_turn(a: Callable, b: Callable, pairs: int) -> tuple[list[float], list[float]]:
    """Return the seconds of `a` and of `b`, called in turn."""
    times = [(seconds(a), seconds(b)) for _ in range(pairs)]
    return [x for x, _ in times], [y for _, y in times]


def ratio(a: list[float], b: list[float]) -> float:
    """Return the median of a/b, pair by pair."""
    return median(x / y for x, y in zip(a, b))


def spread(times: list[float]) -> str:
    return f"median {median(times):.3f} s ({min(times):.3f} to {max(times):.3f}, {len(times)} runs)"


def refusal() -> str:
    """Return why this computer cannot judge now; "" if it can. Takes a second."""
    return busy_computer.too_busy(busy_computer.other_cores(interval_s=1), cores())


def report(title: str, claims: list[Claim], notes: list[str], refused: str = "") -> int:
    """Print the claims; return exit status 1 if one does not hold, 2 if none can be judged.

    refused   why nothing can be judged; the notes are printed anyway
    """
    print(f"# {title}\n  on {platform.machine()}, {os.cpu_count()} cores, {platform.system()}")
    for note in notes:
        print(f"  {note}")
    if refused:
        print(f"  NOT JUDGED: {refused}. Run it again when the computer has nothing else to do.")
        return NOT_JUDGED
    for claim in claims:
        print(f"  {claim}")
    return int(not all(claim.holds for claim in claims))

"""Measure two things in turn, A B A B ..., and report the ratio pair by pair.

A machine's speed drifts; a ratio of neighbours does not. Medians are reported, with the range.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Claim:
    """What was promised and what was measured: `value` must be at most, or at least, `bound`."""

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
    """Seconds of `a` and of `b`, called in turn."""
    times = [(seconds(a), seconds(b)) for _ in range(pairs)]
    return [x for x, _ in times], [y for _, y in times]


def ratio(a: list[float], b: list[float]) -> float:
    """The median of a/b, pair by pair."""
    return median(x / y for x, y in zip(a, b))


def spread(times: list[float]) -> str:
    return f"median {median(times):.3f} s ({min(times):.3f} to {max(times):.3f}, {len(times)} runs)"


def report(title: str, claims: list[Claim], notes: list[str]) -> int:
    """Print the claims; 1 when one does not hold, for the exit status."""
    print(f"# {title}\n  on {platform.machine()}, {os.cpu_count()} cores, {platform.system()}")
    for note in notes:
        print(f"  {note}")
    for claim in claims:
        print(f"  {claim}")
    return int(not all(claim.holds for claim in claims))

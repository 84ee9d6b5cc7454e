"""Calculate with time intervals, which are (start, end) pairs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

Interval = tuple[float, float]


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the same time as disjoint intervals in order, without empty ones.

    >>> union([(3, 4), (0, 2), (1, 3), (9, 9)])
    [(0, 4)]
    """
    joined: list[Interval] = []
    for start, end in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > start:
            joined.append((start, end))
    return joined


def common(a: Iterable[Interval], b: Iterable[Interval]) -> list[Interval]:
    """Return the time that lies in both.

    >>> common([(0, 4), (6, 9)], [(3, 7)])
    [(3, 4), (6, 7)]
    """
    a, b = union(a), union(b)
    both = []
    i = 0
    j = 0
    while i < len(a) and j < len(b):
        start, end = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
        if start < end:
            both.append((start, end))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return both


def without(a: Iterable[Interval], b: Iterable[Interval]) -> list[Interval]:
    """Return the time that lies in the first but not in the second.

    >>> without([(0, 4), (6, 9)], [(3, 7)])
    [(0, 3), (7, 9)]
    """
    taken = union(b)
    starts = [-math.inf, *(end for _, end in taken)]
    ends = [*(start for start, _ in taken), math.inf]
    return common(a, zip(starts, ends, strict=True))


def seconds(intervals: Iterable[Interval]) -> float:
    """Return the length of the intervals; time that several share counts once.

    >>> seconds([(0, 2), (1, 3)])
    3
    """
    return sum(end - start for start, end in union(intervals))


def lanes(intervals: Sequence[Interval]) -> list[int]:
    """Return a lane for each interval, from 0, so that intervals in one lane do not overlap.

    `intervals` must be sorted by start.

    >>> lanes([(0, 2), (1, 3), (2, 4)])
    [0, 1, 0]
    """
    free_at: list[float] = []
    chosen = []
    for start, end in intervals:
        lane = next((n for n, free in enumerate(free_at) if free <= start), len(free_at))
        free_at[lane : lane + 1] = [end]
        chosen.append(lane)
    return chosen

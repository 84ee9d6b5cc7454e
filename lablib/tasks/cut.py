"""Cut a chain of blocks into pipeline stages."""

from __future__ import annotations

from functools import cache
from itertools import accumulate


def balanced(costs: list[float], stages: int) -> list[range]:
    """Cut `costs` into contiguous, non-empty ranges whose sums are as even as possible.

    The most even cut has the smallest sum of squares.

    >>> balanced([1, 1, 1, 3], stages=2)
    [range(0, 3), range(3, 4)]
    """
    before = [0, *accumulate(costs)]

    @cache
    def best(start, stages):
        if stages == 1:
            return (before[-1] - before[start]) ** 2, (range(start, len(costs)),)
        return min(
            (
                ((before[end] - before[start]) ** 2 + rest, (range(start, end), *ranges))
                for end in range(start + 1, len(costs) - stages + 2)
                for rest, ranges in [best(end, stages - 1)]
            ),
            key=lambda found: found[0],
        )

    return list(best(0, stages)[1])

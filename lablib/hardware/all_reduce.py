"""How long an all-reduce takes, algorithm by algorithm, and which one a library takes.

The words and the assumptions are those of `network`: n bytes on each of R ranks, alpha, B.
"""

from __future__ import annotations

from collections.abc import Callable

from lablib.hardware.network import Link, hops, point_to_point_s, rounds


def ring_s(nbytes: float, ranks: int, link: Link) -> float:
    """Seconds of 2 (R - 1) hops with n / R bytes each: 2 (R - 1)(alpha + n / (R B)).

    Patarasuk and Yuan 2009: no algorithm sends fewer bytes. The latency grows with R.

    >>> ring_s(4e6, 4, Link(1e6, 1.0))
    12.0
    """
    return 2 * hops(ranks) * point_to_point_s(nbytes / ranks, link)


def tree_s(nbytes: float, ranks: int, link: Link) -> float:
    """Seconds of a sum up a tree and back down, in a pipeline: 2 (ceil(log2 R) alpha + n / B).

    Two trees, each leaf of one an inner node of the other, so that all links carry data: Sanders,
    Speck, Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan", Parallel
    Computing 35(12), 2009. The pieces of the pipeline are taken as small. One rank is free.

    >>> tree_s(4e6, 4, Link(1e6, 1.0))
    12.0
    """
    if rounds(ranks) == 0:
        return 0.0
    return 2 * (rounds(ranks) * link.latency_s + nbytes / link.bytes_per_s)


def doubling_s(nbytes: float, ranks: int, link: Link) -> float:
    """Seconds of recursive doubling: log2 R (alpha + n / B). Thakur.

    Each round a rank exchanges all it has with one twice as far away. Where R is no power of two,
    the ranks beyond the largest one below hand theirs in first and get the result last:
    2 (alpha + n / B) more.

    >>> doubling_s(4e6, 4, Link(1e6, 1.0)), doubling_s(4e6, 5, Link(1e6, 1.0))
    (10.0, 20.0)
    """
    once_s = point_to_point_s(nbytes, link)
    return rounds(_power_of_two_below(ranks)) * once_s + _fold_s(ranks, once_s)


def halving_s(nbytes: float, ranks: int, link: Link) -> float:
    """Seconds of recursive halving and doubling: 2 log2 R alpha + 2 (R - 1) / R n / B.

    Rabenseifner's: a reduce-scatter that halves the data each round, then an all-gather that
    doubles it (Thakur). As few bytes as the ring in far fewer rounds, but between
    ranks far apart, which real networks slow down. No power of two: as in `doubling_s`.

    >>> halving_s(4e6, 4, Link(1e6, 1.0))
    10.0
    """
    power = _power_of_two_below(ranks)
    sent_s = (power - 1) * (nbytes / power) / link.bytes_per_s
    own_s = 2 * (rounds(power) * link.latency_s + sent_s)
    return own_s + _fold_s(ranks, point_to_point_s(nbytes, link))


ALGORITHMS: dict[str, Callable[[float, int, Link], float]] = {
    "ring": ring_s,
    "tree": tree_s,
    "doubling": doubling_s,
    "halving": halving_s,
}


def all_reduce_s(
    nbytes: float, ranks: int, link: Link, among: tuple[str, ...] = ("ring", "tree")
) -> tuple[float, str]:
    """Seconds of the fastest algorithm for this size, and its name.

    among   names of `ALGORITHMS`

    So NCCL chooses: it estimates latency + n / bandwidth for a ring and for trees and takes the
    smaller (src/graph/tuning.cc at commit 01afd20, read 2026-11-22), so trees for short messages
    and rings for long ones. MPICH goes by a limit instead: recursive doubling up to 2048 bytes,
    halving above (MPIR_CVAR_ALLREDUCE_SHORT_MSG_SIZE).

    >>> all_reduce_s(8, 64, Link("10 Gbit/s", "50 us"))[1]
    'tree'
    >>> all_reduce_s(1e9, 64, Link("10 Gbit/s", "50 us"))[1]
    'ring'
    """
    return min((ALGORITHMS[name](nbytes, ranks, link), name) for name in among)


def _power_of_two_below(ranks):
    return 1 << ((hops(ranks) + 1).bit_length() - 1)


def _fold_s(ranks, once_s):
    return 0.0 if ranks == _power_of_two_below(ranks) else 2 * once_s

"""How long an all-reduce takes with each algorithm, and which algorithm a library chooses.

Symbols and assumptions are those of `network`: n bytes on each of R ranks, alpha, B.
"""

from __future__ import annotations

from collections.abc import Callable

from lablib.hardware.network import Link, hops, point_to_point_s, rounds


def ring_s(nbytes: float, ranks: int, link: Link) -> float:
    """Return the seconds of 2 (R - 1) hops with n / R bytes each: 2 (R - 1)(alpha + n / (R B)).

    No algorithm sends fewer bytes (Patarasuk and Yuan 2009), but the latency grows with R.

    >>> ring_s(4e6, 4, Link(1e6, 1.0))
    12.0
    """
    return 2 * hops(ranks) * point_to_point_s(nbytes / ranks, link)


def tree_s(nbytes: float, ranks: int, link: Link) -> float:
    """Return the seconds of a pipelined sum up and down a tree: 2 (ceil(log2 R) alpha + n / B).

    The ranks form two trees. Each leaf of one tree is an inner node of the other, so that all links
    carry data: Sanders, Speck, Träff, "Two-tree algorithms for full bandwidth broadcast, reduction
    and scan", Parallel Computing 35(12), 2009. The formula assumes small pieces in the pipeline.
    One rank takes no time.

    >>> tree_s(4e6, 4, Link(1e6, 1.0))
    12.0
    """
    if rounds(ranks) == 0:
        return 0.0
    return 2 * (rounds(ranks) * link.latency_s + nbytes / link.bytes_per_s)


def doubling_s(nbytes: float, ranks: int, link: Link) -> float:
    """Return the seconds of recursive doubling: log2 R (alpha + n / B). Thakur.

    In each round, a rank exchanges all its data with a rank that is twice as far away. If R is not
    a power of two, the ranks beyond the next lower power first send their data to another rank and
    receive the result at the end, which takes 2 (alpha + n / B) more.

    >>> doubling_s(4e6, 4, Link(1e6, 1.0)), doubling_s(4e6, 5, Link(1e6, 1.0))
    (10.0, 20.0)
    """
    once_s = point_to_point_s(nbytes, link)
    return rounds(_power_of_two_below(ranks)) * once_s + _fold_s(ranks, once_s)


def halving_s(nbytes: float, ranks: int, link: Link) -> float:
    """Return the seconds of recursive halving and doubling: 2 log2 R alpha + 2 (R - 1) / R n / B.

    This is Rabenseifner's algorithm: a reduce-scatter that halves the data in each round, then an
    all-gather that doubles it (Thakur). It sends as few bytes as the ring in far fewer rounds, but
    between ranks that are far apart, which is slower on real networks. If R is not a power of two,
    it does the same as `doubling_s`.

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
    """Return the seconds and the name of the fastest algorithm for this size.

    among   names of `ALGORITHMS`

    NCCL chooses in the same way: it estimates latency + n / bandwidth for a ring and for trees and
    takes the smaller (src/graph/tuning.cc at commit 01afd20, read 2026-11-22). So it uses trees for
    short messages and rings for long ones. MPICH has a fixed limit instead: recursive doubling up
    to 2048 bytes, halving above (MPIR_CVAR_ALLREDUCE_SHORT_MSG_SIZE).

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

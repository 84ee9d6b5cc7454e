"""Links, and how long a message over them takes.

Hockney's model throughout: one message of n bytes takes alpha + n / B, where alpha is the latency
and B the bandwidth ("The communication challenge for MPP", Parallel Computing 20(3), 1994). Every
rank has a link of its own to the others, may send and receive at once, and adding numbers costs
nothing. Nothing here knows who shares a link; `Hardware` and the simulator do.

In every formula `nbytes` is what one rank passes to the call, `ranks` is R, and one rank is free.
"Thakur" is Thakur, Rabenseifner, Gropp, "Optimization of collective communication operations in
MPICH", International Journal of High Performance Computing Applications 19(1), 2005.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lablib.errors import LabError
from lablib.hardware.device import above_zero, is_amount
from lablib.units import parse_bytes_per_s, parse_s, show_bytes, show_s


@dataclass(frozen=True)
class Link:
    """One direction of a connection; the other direction is as fast, at the same time.

    bytes_per_s     bandwidth, such as "10 Gbit/s" or "25 GB/s"; a plain number is bytes a second
    latency_s       of one message, one way, such as "50 us"; a plain number is seconds
    degrades_at_s   from this moment of the modelled clock on, messages that start ...
    degrades_to     ... have this share of the bandwidth, 0.1 for a tenth; both or neither

    Raises LabError for what cannot be read or is not positive; a latency of 0 is allowed.

    >>> Link("10 Gbit/s", "50 us")
    Link(1.25 GB/s, 50 us)
    """

    bytes_per_s: float
    latency_s: float = 0.0
    degrades_at_s: float = math.inf
    degrades_to: float = 1.0

    def __post_init__(self):
        values = {
            "bytes_per_s": parse_bytes_per_s(self.bytes_per_s),
            "latency_s": parse_s(self.latency_s),
            "degrades_at_s": parse_s(self.degrades_at_s),
            "degrades_to": self.degrades_to,
        }
        above_zero("The bandwidth of a link", values["bytes_per_s"])
        above_zero("The latency of a link", values["latency_s"], or_zero=True)
        above_zero("The moment at which a link degrades", values["degrades_at_s"], or_zero=True)
        share = values["degrades_to"]
        if not is_amount(share) or not 0 < share <= 1:
            raise LabError(
                "What a link degrades to is a share of its bandwidth.",
                saw=f"degrades_to={share!r}",
                do="give a number above 0 and at most 1: 0.1 for a tenth",
                about=("degrades_to",),
            )
        if (values["degrades_at_s"] < math.inf) != (share < 1):
            raise LabError(
                "A link that degrades needs the moment, and the share of its bandwidth then.",
                saw=f"at {show_s(values['degrades_at_s'])}, to {share:g}",
                do='give both: Link("10 Gbit/s", "50 us", degrades_at_s="2 s", degrades_to=0.1)',
            )
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def at(self, now_s: float) -> Link:
        """The link as it is at this moment of the modelled clock."""
        if now_s < self.degrades_at_s:
            return self
        return Link(self.bytes_per_s * self.degrades_to, self.latency_s)

    def times(self, lanes: float) -> Link:
        """As wide as so many of it side by side; the latency stays."""
        return self if lanes == 1 else replace(self, bytes_per_s=self.bytes_per_s * lanes)

    def __repr__(self):
        later = ""
        if self.degrades_at_s < math.inf:
            later = f", {self.degrades_to:.3g} of it from {show_s(self.degrades_at_s)}"
        return f"Link({show_bytes(self.bytes_per_s)}/s, {show_s(self.latency_s)}{later})"


def rounds(ranks: int) -> int:
    """ceil(log2 R): rounds until all know, if each who knows tells one other a round.

    Raises ValueError when ranks < 1.

    >>> [rounds(ranks) for ranks in (1, 2, 3, 4, 5, 8)]
    [0, 1, 2, 2, 3, 3]
    """
    return hops(ranks).bit_length()


def hops(ranks: int) -> int:
    """R - 1: how often a ring passes something on until it has met all. ValueError below 1 rank."""
    if ranks < 1:
        raise ValueError(f"ranks={ranks}: a message needs at least one rank")
    return ranks - 1


def point_to_point_s(nbytes: float, link: Link) -> float:
    """Seconds from one rank to another: alpha + n / B. Hockney 1994.

    >>> point_to_point_s(2e6, Link(1e6, 0.5))
    2.5
    """
    return link.latency_s + nbytes / link.bytes_per_s


def broadcast_s(nbytes: float, ranks: int, link: Link) -> float:
    """Seconds until all ranks have the root's n bytes; the faster of two algorithms.

    binomial tree            ceil(log2 R) (alpha + n / B)
    scatter, then all-gather (ceil(log2 R) + R - 1) alpha + 2 (R - 1) / R n / B

    Thakur; the second is van de Geijn's, and wins for long messages.

    >>> broadcast_s(1e6, 4, Link(1e6, 1.0))
    4.0
    """
    tree_s = rounds(ranks) * point_to_point_s(nbytes, link)
    part = nbytes / ranks
    return min(tree_s, scatter_s(nbytes, ranks, link) + all_gather_s(part, ranks, link))


def reduce_s(nbytes: float, ranks: int, link: Link) -> float:
    """Seconds until the root has the sum of all ranks' n bytes; the faster of two algorithms.

    binomial tree              ceil(log2 R) (alpha + n / B)
    reduce-scatter, then gather 2 ceil(log2 R) alpha + 2 (R - 1) / R n / B

    Thakur; the second is Rabenseifner's (recursive halving), for long messages.

    >>> reduce_s(16e6, 4, Link(1e6, 1.0))
    28.0
    """
    tree_s = rounds(ranks) * point_to_point_s(nbytes, link)
    return min(tree_s, 2 * scatter_s(nbytes, ranks, link))


def scatter_s(nbytes: float, ranks: int, link: Link) -> float:
    """Seconds until each rank has its R-th of the root's n bytes.

    ceil(log2 R) alpha + (R - 1) / R n / B: a binomial tree, half of the data further each round.
    Chan, Heimlich, Purkayastha, van de Geijn, "Collective communication: theory, practice, and
    experience", Concurrency and Computation 19(13), 2007.

    >>> scatter_s(4e6, 4, Link(1e6, 1.0))
    5.0
    """
    return rounds(ranks) * link.latency_s + hops(ranks) * (nbytes / ranks) / link.bytes_per_s


def gather_s(nbytes: float, ranks: int, link: Link) -> float:
    """Seconds until the root has every rank's n bytes: ceil(log2 R) alpha + (R - 1) n / B.

    A scatter run backwards (Chan and others 2007).

    >>> gather_s(1e6, 4, Link(1e6, 1.0))
    5.0
    """
    return scatter_s(nbytes * ranks, ranks, link)


def all_gather_s(nbytes: float, ranks: int, link: Link) -> float:
    """Seconds until every rank has every rank's n bytes: (R - 1)(alpha + n / B).

    A ring; Thakur.

    >>> all_gather_s(1e6, 4, Link(1e6, 1.0))
    6.0
    """
    return hops(ranks) * point_to_point_s(nbytes, link)


def reduce_scatter_s(nbytes: float, ranks: int, link: Link) -> float:
    """Seconds until each rank has its R-th of the sum of all n bytes: (R - 1)(alpha + n / (R B)).

    A ring, the first half of the ring all-reduce. Patarasuk and Yuan, "Bandwidth optimal all-reduce
    algorithms for clusters of workstations", Journal of Parallel and Distributed Computing 69(2),
    2009.

    >>> reduce_scatter_s(4e6, 4, Link(1e6, 1.0))
    6.0
    """
    return hops(ranks) * point_to_point_s(nbytes / ranks, link)


def all_to_all_s(nbytes: float, ranks: int, link: Link) -> float:
    """Seconds until each rank has its R-th of every rank's n bytes: (R - 1)(alpha + n / (R B)).

    Pairwise exchange; Thakur. What a rank keeps for itself is not sent.

    >>> all_to_all_s(4e6, 4, Link(1e6, 1.0))
    6.0
    """
    return hops(ranks) * point_to_point_s(nbytes / ranks, link)


def barrier_s(ranks: int, link: Link) -> float:
    """Seconds until every rank knows that every rank has come: ceil(log2 R) alpha.

    The dissemination barrier: Hensgen, Finkel, Manber, "Two algorithms for barrier
    synchronization", International Journal of Parallel Programming 17(1), 1988.

    >>> barrier_s(5, Link(1e6, 1.0))
    3.0
    """
    return rounds(ranks) * link.latency_s

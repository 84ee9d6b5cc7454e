"""Links, and how long a message over a link takes.

All formulas use Hockney's model: one message of n bytes takes alpha + n / B, where alpha is the
latency and B the bandwidth ("The communication challenge for MPP", Parallel Computing 20(3), 1994).
Every rank has its own link to the others and can send and receive at the same time, and adding
numbers takes no time. `Hardware` and the simulator account for links that are shared.

In every formula, `nbytes` is the number of bytes that one rank passes to the call, and `ranks` is
R. With one rank, the time is 0.
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
    """One direction of a connection; the other direction is as fast, and both work at once.

    bytes_per_s     bandwidth, such as "10 Gbit/s" or "25 GB/s"; a plain number is bytes per second
    latency_s       one-way latency of a message, such as "50 us"; a plain number is seconds
    degrades_at_s   the moment of the modelled clock from which on the link is slower
    degrades_to     the share of the bandwidth that messages then get, such as 0.1 for a tenth;
                    give both of these arguments or neither

    Raises LabError if a value cannot be read or is not positive; a latency of 0 is allowed.

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
                "degrades_to must be a share of the link's bandwidth.",
                saw=f"degrades_to={share!r}",
                do="give a number above 0 and at most 1: 0.1 for a tenth",
                about=("degrades_to",),
            )
        if (values["degrades_at_s"] < math.inf) != (share < 1):
            raise LabError(
                "A link that degrades needs both degrades_at_s and degrades_to.",
                saw=f"degrades_at_s is {show_s(values['degrades_at_s'])}, degrades_to is {share:g}",
                do='give both: Link("10 Gbit/s", "50 us", degrades_at_s="2 s", degrades_to=0.1)',
            )
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def at(self, now_s: float) -> Link:
        """Return the link as it is at this moment of the modelled clock."""
        if now_s < self.degrades_at_s:
            return self
        return Link(self.bytes_per_s * self.degrades_to, self.latency_s)

    def times(self, lanes: float) -> Link:
        """Return a link with this many times the bandwidth and the same latency."""
        return self if lanes == 1 else replace(self, bytes_per_s=self.bytes_per_s * lanes)

    def __repr__(self):
        later = ""
        if self.degrades_at_s < math.inf:
            later = f", {self.degrades_to:.3g} of it from {show_s(self.degrades_at_s)}"
        return f"Link({show_bytes(self.bytes_per_s)}/s, {show_s(self.latency_s)}{later})"


def rounds(ranks: int) -> int:
    """Return ceil(log2 R): the rounds of a binomial tree until all ranks have the data.

    In each round, every rank that has the data sends it to one other rank. Raises ValueError if
    ranks < 1.

    >>> [rounds(ranks) for ranks in (1, 2, 3, 4, 5, 8)]
    [0, 1, 2, 2, 3, 3]
    """
    return hops(ranks).bit_length()


def hops(ranks: int) -> int:
    """Return R - 1: the hops in a ring until data reach all ranks. ValueError if ranks < 1."""
    if ranks < 1:
        raise ValueError(f"ranks={ranks}: a message needs at least one rank")
    return ranks - 1


def point_to_point_s(nbytes: float, link: Link) -> float:
    """Return the seconds from one rank to another: alpha + n / B. Hockney 1994.

    >>> point_to_point_s(2e6, Link(1e6, 0.5))
    2.5
    """
    return link.latency_s + nbytes / link.bytes_per_s


def broadcast_s(nbytes: float, ranks: int, link: Link) -> float:
    """Return the seconds until all ranks have the root's n bytes; the faster of two algorithms.

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
    """Return the seconds until the root has the sum of all n bytes; the faster of two algorithms.

    binomial tree              ceil(log2 R) (alpha + n / B)
    reduce-scatter, then gather 2 ceil(log2 R) alpha + 2 (R - 1) / R n / B

    Thakur; the second is Rabenseifner's (recursive halving), for long messages.

    >>> reduce_s(16e6, 4, Link(1e6, 1.0))
    28.0
    """
    tree_s = rounds(ranks) * point_to_point_s(nbytes, link)
    return min(tree_s, 2 * scatter_s(nbytes, ranks, link))


def scatter_s(nbytes: float, ranks: int, link: Link) -> float:
    """Return the seconds until each rank has its R-th of the root's n bytes.

    ceil(log2 R) alpha + (R - 1) / R n / B: a binomial tree that passes on half of the data in each
    round.
    Chan, Heimlich, Purkayastha, van de Geijn, "Collective communication: theory, practice, and
    experience", Concurrency and Computation 19(13), 2007.

    >>> scatter_s(4e6, 4, Link(1e6, 1.0))
    5.0
    """
    return rounds(ranks) * link.latency_s + hops(ranks) * (nbytes / ranks) / link.bytes_per_s


def gather_s(nbytes: float, ranks: int, link: Link) -> float:
    """Return the seconds until the root has all ranks' n bytes: ceil(log2 R) alpha + (R - 1) n / B.

    A scatter run backwards (Chan and others 2007).

    >>> gather_s(1e6, 4, Link(1e6, 1.0))
    5.0
    """
    return scatter_s(nbytes * ranks, ranks, link)


def all_gather_s(nbytes: float, ranks: int, link: Link) -> float:
    """Return the seconds until every rank has every rank's n bytes: (R - 1)(alpha + n / B).

    The algorithm is a ring; Thakur.

    >>> all_gather_s(1e6, 4, Link(1e6, 1.0))
    6.0
    """
    return hops(ranks) * point_to_point_s(nbytes, link)


def reduce_scatter_s(nbytes: float, ranks: int, link: Link) -> float:
    """Return the seconds until each rank has its R-th of the sum: (R - 1)(alpha + n / (R B)).

    The algorithm is a ring, the first half of the ring all-reduce. Patarasuk and Yuan, "Bandwidth
    optimal all-reduce algorithms for clusters of workstations", Journal of Parallel and Distributed
    Computing 69(2), 2009.

    >>> reduce_scatter_s(4e6, 4, Link(1e6, 1.0))
    6.0
    """
    return hops(ranks) * point_to_point_s(nbytes / ranks, link)


def all_to_all_s(nbytes: float, ranks: int, link: Link) -> float:
    """Return the seconds until each rank has its R-th of all n bytes: (R - 1)(alpha + n / (R B)).

    The algorithm is a pairwise exchange; Thakur. A rank does not send its own part.

    >>> all_to_all_s(4e6, 4, Link(1e6, 1.0))
    6.0
    """
    return hops(ranks) * point_to_point_s(nbytes / ranks, link)


def barrier_s(ranks: int, link: Link) -> float:
    """Return the seconds until every rank knows that all have arrived: ceil(log2 R) alpha.

    The dissemination barrier: Hensgen, Finkel, Manber, "Two algorithms for barrier
    synchronization", International Journal of Parallel Programming 17(1), 1988.

    >>> barrier_s(5, Link(1e6, 1.0))
    3.0
    """
    return rounds(ranks) * link.latency_s

"""Messages in a group that spans several nodes: links inside a node, and links between nodes.

`network` and `all_reduce` explain the symbols and the one-level formulas. Most messages here take
one step inside all nodes at once and one step among the nodes. The k ranks of a node share the
bandwidth of their node. Each node sends the data only once, as in MagPIe:
Kielmann, Hofman, Bal, Plaat, Bhoedjang, "MagPIe: MPI's collective communication operations for
clustered wide area systems", PPoPP 1999. In formulas, w is a link within a node, b one between
nodes, and broadcast(n, R, link) is that of `network`.
"""

from __future__ import annotations

from dataclasses import dataclass

from lablib.hardware import all_reduce, network
from lablib.hardware.network import Link

HIERARCHICAL = "hierarchical"
ALGORITHMS = (*all_reduce.ALGORITHMS, HIERARCHICAL)


@dataclass(frozen=True)
class Span:
    """A group on N nodes with k ranks each, and its links.

    within    the link of each rank to the other ranks of its node
    between   the link of one node to the others, which its k ranks share
    single    the link of a single rank to another node
    """

    per_node: int
    nodes: int
    within: Link
    between: Link
    single: Link

    @property
    def ranks(self) -> int:
        return self.per_node * self.nodes

    @property
    def ring(self) -> Link:
        """Return the link for a hop of a ring of all ranks, which enters and leaves a node once."""
        slowest = min(self.within.bytes_per_s, self.between.bytes_per_s)
        return Link(slowest, max(self.within.latency_s, self.between.latency_s))

    @property
    def crowd(self) -> Link:
        """Return the link of each rank if all ranks send to other nodes at once."""
        share = self.between.bytes_per_s / self.per_node
        return Link(min(self.within.bytes_per_s, share), self.ring.latency_s)


def all_reduce_s(nbytes: float, span: Span, algorithm: str = "auto") -> tuple[float, str]:
    """Return the seconds of an all-reduce of n bytes, and the algorithm.

    ring             2 (R - 1)(alpha + n / (R B)), with alpha and B of the slowest hop
    tree             a tree in each node, and a tree of the nodes: 2 (ceil(log2 k) alpha_w +
                     ceil(log2 N) alpha_b + n / B), as in NCCL's src/graph/tuning.cc
    doubling, halving    as on one level; all ranks of a node send to other nodes at once
    hierarchical     `hierarchical_s`
    auto             the fastest of ring, tree and hierarchical
    """
    choices = {
        "ring": lambda: all_reduce.ring_s(nbytes, span.ranks, span.ring),
        "tree": lambda: _tree_s(nbytes, span),
        "doubling": lambda: all_reduce.doubling_s(nbytes, span.ranks, span.crowd),
        "halving": lambda: all_reduce.halving_s(nbytes, span.ranks, span.crowd),
        HIERARCHICAL: lambda: hierarchical_s(nbytes, span),
    }
    among = ("ring", "tree", HIERARCHICAL) if algorithm == "auto" else (algorithm,)
    return min((choices[name](), name) for name in among)


def hierarchical_s(nbytes: float, span: Span) -> float:
    """Return the seconds of reduce-scatter in nodes, all-reduce among them, all-gather in nodes.

    2 (k - 1)(alpha_w + n / (k B_w)), plus the faster of ring and tree for n bytes on N nodes: each
    of the k ranks of a node reduces its k-th of the data with one rank of each other node, and all
    do so at once.
    Cho, Finkler, Serrano, Kung, Hunter, "BlueConnect: decomposing all-reduce for deep learning on
    heterogeneous network hierarchy", SysML 2019.

    >>> slow = Link(1e6, 0.0)
    >>> hierarchical_s(4e6, Span(2, 2, Link(4e6, 0.0), slow, slow))
    5.0
    """
    scatter_s = network.reduce_scatter_s(nbytes, span.per_node, span.within)
    gather_s = network.all_gather_s(nbytes / span.per_node, span.per_node, span.within)
    return scatter_s + all_reduce.all_reduce_s(nbytes, span.nodes, span.between)[0] + gather_s


def broadcast_s(nbytes: float, span: Span) -> float:
    """Return the seconds of a broadcast among one rank of each node, then one in every node.

    broadcast(n, N, b) + broadcast(n, k, w); MagPIe
    """
    among_s = network.broadcast_s(nbytes, span.nodes, span.single)
    return among_s + network.broadcast_s(nbytes, span.per_node, span.within)


def reduce_s(nbytes: float, span: Span) -> float:
    """Return the seconds of a reduce in every node, then one among one rank of each node.

    reduce(n, k, w) + reduce(n, N, b); MagPIe
    """
    among_s = network.reduce_s(nbytes, span.nodes, span.single)
    return among_s + network.reduce_s(nbytes, span.per_node, span.within)


def gather_s(nbytes: float, span: Span) -> float:
    """Return the seconds of a gather in every node, then one of k n bytes from each node.

    gather(n, k, w) + gather(k n, N, b); MagPIe
    """
    among_s = network.gather_s(nbytes * span.per_node, span.nodes, span.single)
    return among_s + network.gather_s(nbytes, span.per_node, span.within)


def scatter_s(nbytes: float, span: Span) -> float:
    """Return the seconds of a scatter among one rank of each node, then one in every node.

    scatter(n, N, b) + scatter(n / N, k, w); MagPIe
    """
    among_s = network.scatter_s(nbytes, span.nodes, span.single)
    return among_s + network.scatter_s(nbytes / span.nodes, span.per_node, span.within)


def all_gather_s(nbytes: float, span: Span) -> float:
    """Return the seconds of k all-gathers among the nodes at once, then one in every node.

    (N - 1)(alpha_b + k n / B_b) + (k - 1)(alpha_w + N n / B_w)
    """
    among_s = network.all_gather_s(nbytes * span.per_node, span.nodes, span.between)
    return among_s + network.all_gather_s(nbytes * span.nodes, span.per_node, span.within)


def reduce_scatter_s(nbytes: float, span: Span) -> float:
    """Return the seconds of a reduce-scatter in every node, then k among the nodes at once.

    (k - 1)(alpha_w + n / (k B_w)) + (N - 1)(alpha_b + n / (N B_b))
    """
    within_s = network.reduce_scatter_s(nbytes, span.per_node, span.within)
    return within_s + network.reduce_scatter_s(nbytes, span.nodes, span.between)


def all_to_all_s(nbytes: float, span: Span) -> float:
    """Return the seconds of a pairwise exchange: k - 1 rounds in the nodes, R - k between them.

    (k - 1)(alpha_w + n / (R B_w)) + (R - k)(alpha_b + k n / (R B_b))
    """
    part, k = nbytes / span.ranks, span.per_node
    near_s = (k - 1) * network.point_to_point_s(part, span.within)
    return near_s + (span.ranks - k) * network.point_to_point_s(k * part, span.between)


def barrier_s(nbytes: float, span: Span) -> float:
    """Return the seconds of the dissemination barrier; all rounds take as long as the slowest.

    ceil(log2 R) max(alpha_w, alpha_b)
    """
    return network.barrier_s(span.ranks, span.ring)


def _tree_s(nbytes, span):
    latency_s = network.rounds(span.per_node) * span.within.latency_s
    latency_s += network.rounds(span.nodes) * span.between.latency_s
    return 2 * (latency_s + nbytes / span.ring.bytes_per_s)

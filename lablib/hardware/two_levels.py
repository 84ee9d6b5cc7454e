"""Messages of a group that lives on several nodes: links inside a node, links between nodes.

Words and sources of the one-level formulas are those of `network` and `all_reduce`. Most messages
here take a step in every node at once and a step among the nodes; the k ranks of a node share what
their node can send to the others. That each node sends what is needed, once, is MagPIe's way:
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

    within    of each rank to those of its own node
    between   what the k ranks of one node together can send to the others
    single    what one of them alone can send to another node
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
        """Each hop of a ring through all ranks; it enters and leaves each node once."""
        slowest = min(self.within.bytes_per_s, self.between.bytes_per_s)
        return Link(slowest, max(self.within.latency_s, self.between.latency_s))

    @property
    def crowd(self) -> Link:
        """Each rank's, when all ranks send to other nodes at once."""
        share = self.between.bytes_per_s / self.per_node
        return Link(min(self.within.bytes_per_s, share), self.ring.latency_s)


def all_reduce_s(nbytes: float, span: Span, algorithm: str = "auto") -> tuple[float, str]:
    """Seconds of an all-reduce of n bytes, and the algorithm.

    ring             2 (R - 1)(alpha + n / (R B)), alpha and B of the slowest hop
    tree             trees in each node below trees of nodes: 2 (ceil(log2 k) alpha_w +
                     ceil(log2 N) alpha_b + n / B), as in NCCL's src/graph/tuning.cc
    doubling, halving    as on one level; all ranks of a node cross its border at once
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
    """Seconds of reduce-scatter in each node, all-reduce among nodes, all-gather in each node.

    2 (k - 1)(alpha_w + n / (k B_w)), and the faster of ring and tree for n bytes on N nodes: the
    k ranks of a node each reduce their k-th with their like in the other nodes, all at once.
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
    """Seconds of a broadcast among one rank of each node, then one inside every node.

    broadcast(n, N, b) + broadcast(n, k, w); MagPIe
    """
    among_s = network.broadcast_s(nbytes, span.nodes, span.single)
    return among_s + network.broadcast_s(nbytes, span.per_node, span.within)


def reduce_s(nbytes: float, span: Span) -> float:
    """Seconds of a reduce inside every node, then one among one rank of each node.

    reduce(n, k, w) + reduce(n, N, b); MagPIe
    """
    among_s = network.reduce_s(nbytes, span.nodes, span.single)
    return among_s + network.reduce_s(nbytes, span.per_node, span.within)


def gather_s(nbytes: float, span: Span) -> float:
    """Seconds of a gather inside every node, then one of k n bytes from each node.

    gather(n, k, w) + gather(k n, N, b); MagPIe
    """
    among_s = network.gather_s(nbytes * span.per_node, span.nodes, span.single)
    return among_s + network.gather_s(nbytes, span.per_node, span.within)


def scatter_s(nbytes: float, span: Span) -> float:
    """Seconds of a scatter among one rank of each node, then one inside every node.

    scatter(n, N, b) + scatter(n / N, k, w); MagPIe
    """
    among_s = network.scatter_s(nbytes, span.nodes, span.single)
    return among_s + network.scatter_s(nbytes / span.nodes, span.per_node, span.within)


def all_gather_s(nbytes: float, span: Span) -> float:
    """Seconds of k all-gathers among the nodes at once, then one inside every node.

    (N - 1)(alpha_b + k n / B_b) + (k - 1)(alpha_w + N n / B_w)
    """
    among_s = network.all_gather_s(nbytes * span.per_node, span.nodes, span.between)
    return among_s + network.all_gather_s(nbytes * span.nodes, span.per_node, span.within)


def reduce_scatter_s(nbytes: float, span: Span) -> float:
    """Seconds of a reduce-scatter inside every node, then k of them among the nodes at once.

    (k - 1)(alpha_w + n / (k B_w)) + (N - 1)(alpha_b + n / (N B_b))
    """
    within_s = network.reduce_scatter_s(nbytes, span.per_node, span.within)
    return within_s + network.reduce_scatter_s(nbytes, span.nodes, span.between)


def all_to_all_s(nbytes: float, span: Span) -> float:
    """Seconds of a pairwise exchange: k - 1 rounds inside the nodes, R - k between them.

    (k - 1)(alpha_w + n / (R B_w)) + (R - k)(alpha_b + k n / (R B_b))
    """
    part, k = nbytes / span.ranks, span.per_node
    near_s = (k - 1) * network.point_to_point_s(part, span.within)
    return near_s + (span.ranks - k) * network.point_to_point_s(k * part, span.between)


def barrier_s(nbytes: float, span: Span) -> float:
    """Seconds of the dissemination barrier, all of whose rounds are as slow as the slowest.

    ceil(log2 R) max(alpha_w, alpha_b)
    """
    return network.barrier_s(span.ranks, span.ring)


def _tree_s(nbytes, span):
    latency_s = network.rounds(span.per_node) * span.within.latency_s
    latency_s += network.rounds(span.nodes) * span.between.latency_s
    return 2 * (latency_s + nbytes / span.ring.bytes_per_s)

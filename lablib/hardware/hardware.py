"""A modelled cluster: devices in nodes, links in and between nodes, and how uneven they are."""

from __future__ import annotations

import importlib
import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from functools import lru_cache

from lablib.errors import LabError, check_whole, is_whole
from lablib.hardware import all_reduce, description, network, two_levels
from lablib.hardware.device import Device, check_name, is_amount
from lablib.hardware.network import Link
from lablib.hardware.two_levels import Span

_POINT_TO_POINT = ("send", "recv")
# Formulas by the recorder's name: on one node, on several. An all-reduce also has a choice.
_COLLECTIVES = {
    "broadcast": (network.broadcast_s, two_levels.broadcast_s),
    "reduce": (network.reduce_s, two_levels.reduce_s),
    "all_gather": (network.all_gather_s, two_levels.all_gather_s),
    "reduce_scatter": (network.reduce_scatter_s, two_levels.reduce_scatter_s),
    "all_to_all": (network.all_to_all_s, two_levels.all_to_all_s),
    "gather": (network.gather_s, two_levels.gather_s),
    "scatter": (network.scatter_s, two_levels.scatter_s),
    "barrier": (lambda nbytes, ranks, link: network.barrier_s(ranks, link), two_levels.barrier_s),
}
MESSAGES = (*_POINT_TO_POINT, "all_reduce", *_COLLECTIVES)


@dataclass(frozen=True, repr=False)
class Hardware:
    """A machine to model. Ranks fill it node by node.

    device        a Device, or the name of one in the catalog, such as "t4"
    nodes, per_node    how many nodes, and devices in each
    within        Link of a device to the others of its node, or a name such as "pcie3"
    between       Link of one network adapter to the other nodes, or a name
    lanes         network adapters of a node; a collective uses as many as it has ranks there
    slow          {rank: times}: this rank computes that many times slower
    jitter        each step of each rank computes 1 + jitter * x times slower, where x is drawn for
                  each step from the exponential distribution with mean 1; the same `seed` gives the
                  same numbers on every computer
    all_reduce    "auto" (the fastest of ring, tree and, over several nodes, hierarchical), or one
                  of ring, tree, doubling, halving, hierarchical

    Raises LabError if no such machine is possible.

    >>> hardware = Hardware("t4", nodes=2, per_node=4, within="pcie3", between=Link("10 Gbit/s"))
    >>> hardware.ranks, hardware.node(5)
    (8, 1)
    """

    device: Device | str
    nodes: int = 1
    per_node: int = 1
    within: Link | str | None = None
    between: Link | str | None = None
    lanes: int = 1
    slow: Mapping[int, float] = field(default_factory=dict, hash=False)
    jitter: float = 0.0
    seed: int = 0
    all_reduce: str = "auto"
    name: str = "by hand"

    def __post_init__(self):
        for field_name, kind in (("device", "devices"), ("within", "links"), ("between", "links")):
            value = getattr(self, field_name)
            if isinstance(value, str):
                object.__setattr__(self, field_name, description.shipped().named(kind, value))
        _check(self)
        object.__setattr__(self, "slow", dict(self.slow))

    @staticmethod
    def measure(framework: str = "torch", ranks: int = 2) -> Hardware:
        """Measure this computer, as `lablib.training.measured_hardware.measure` describes."""
        # Imported by name, because this package must not import modules that start processes.
        return importlib.import_module("lablib.training.measured_hardware").measure(
            framework, ranks
        )

    @property
    def ranks(self) -> int:
        """Return how many ranks fit: one on each device."""
        return self.nodes * self.per_node

    def check_ranks(self, ranks: int) -> None:
        """Raise LabError if this many ranks do not fit."""
        if ranks > self.ranks:
            _refuse(
                "The hardware has fewer devices than the run has ranks.",
                f"{ranks} ranks on {self}",
                "run fewer ranks, or add nodes: dataclasses.replace(hardware, nodes=...)",
            )

    def node(self, rank: int) -> int:
        """Return the node of this rank."""
        return rank // self.per_node

    def compute_s(self, costs: Iterable[tuple], cpu_s: float = 0.0) -> float:
        """Return the seconds of operations that run one after the other on a normal device.

        costs   (flops, nbytes, precision, count) of each, timed with the device's roofline
        cpu_s   the CPU seconds that they took on this computer; used for the device "host"

        Raises LabError if the costs have another form.

        >>> Hardware("t4").compute_s([(8.141e12, 0, "fp32", 2)])
        2.0
        """
        if self.device.is_host:
            return cpu_s
        return sum(count * self.device.seconds(*cost) for *cost, count in map(_cost_of, costs))

    def unevenness(self, rank: int, step: int) -> float:
        """Return how many times slower than its device this rank computes in this step."""
        times = self.slow.get(rank, 1.0)
        return times * (1 + self.jitter * _drawn(self.seed, rank, step)) if self.jitter else times

    def message_s(self, name: str, nbytes: float, group: Sequence[int], at_s: float = 0.0) -> float:
        """Return the seconds of one message, once all its ranks are there and its links are free.

        nbytes   the bytes that one rank passes to the call; for a scatter, the root's
        group    the global ranks; for a send or a recv, (source, destination)
        at_s     when it starts, for links that degrade

        >>> hardware = Hardware("t4", per_node=4, within=Link(1e6, 1.0), all_reduce="ring")
        >>> hardware.message_s("all_reduce", 4e6, range(4))
        12.0
        """
        self._check_message(name, nbytes, group)
        return self._cost(name, nbytes, group, at_s)[0]

    def algorithm(self, nbytes: float, group: Sequence[int], at_s: float = 0.0) -> str:
        """Return the algorithm of an all-reduce of this size: "ring", "tree", "hierarchical" ..."""
        self._check_message("all_reduce", nbytes, group)
        return self._cost("all_reduce", nbytes, group, at_s)[1]

    def links(self, name: str, group: Sequence[int]) -> Iterator[tuple[tuple, int, int]]:
        """Yield what a message occupies: (link, lanes that it takes, lanes that the link has).

        Each device has a port inside its node, and each node has `lanes` adapters. The two
        directions are separate links: ("out", "rank", 3), ("in", "node", 0).
        """
        if name in _POINT_TO_POINT:
            source, target = group
            near = self.node(source) == self.node(target)
            place, of = ("rank", int) if near else ("node", self.node)
            there = 1 if near else self.lanes
            yield ("out", place, of(source)), 1, there
            yield ("in", place, of(target)), 1, there
            return
        here = Counter(map(self.node, group))
        for way in ("out", "in"):
            for rank in group:
                if here[self.node(rank)] > 1:
                    yield (way, "rank", rank), 1, 1
            if len(here) > 1:
                for node, members in here.items():
                    yield (way, "node", node), min(members, self.lanes), self.lanes

    def _check_message(self, name, nbytes, group):
        if name not in MESSAGES:
            cure = f"choose one of {', '.join(MESSAGES)}"
            _refuse("There is no such kind of message.", repr(name), cure)
        if not is_amount(nbytes):
            wrong = "The size of a message must be a number of bytes."
            _refuse(wrong, f"nbytes={nbytes!r}", "give 4e6 for 4 MB")
        here = range(self.ranks)
        known = isinstance(group, Collection) and all(rank in here for rank in group)
        if not known or (name in _POINT_TO_POINT and len(group) != 2):
            two = "(source, destination)" if name in _POINT_TO_POINT else "range(4) for the first 4"
            cure = f"use the ranks 0 to {self.ranks - 1}, for example {two}"
            _refuse("No message can be sent in this group of ranks.", f"group={group!r}", cure)

    def _cost(self, name, nbytes, group, at_s):
        if len(set(group)) < 2:
            return 0.0, "none"
        here = Counter(map(self.node, group))
        if name in _POINT_TO_POINT:
            link = self.within if len(here) == 1 else self.between
            return network.point_to_point_s(nbytes, link.at(at_s)), "none"
        if len(here) == 1 or len(here) == len(group):
            return self._on_one_level(name, nbytes, len(group), len(here) == 1, at_s)
        return self._on_two_levels(name, nbytes, here, at_s)

    def _on_one_level(self, name, nbytes, ranks, within, at_s):
        link = (self.within if within else self.between).at(at_s)
        if name != "all_reduce":
            return _COLLECTIVES[name][0](nbytes, ranks, link), "none"
        # With one rank on each node, there is no level inside the nodes.
        free = self.all_reduce in ("auto", two_levels.HIERARCHICAL)
        among = ("ring", "tree") if free else (self.all_reduce,)
        return all_reduce.all_reduce_s(nbytes, ranks, link, among)

    def _on_two_levels(self, name, nbytes, here, at_s):
        within = self.within.at(at_s)
        between = self.between.at(at_s)
        # If the nodes have different numbers of ranks, assume for each node the largest number of
        # ranks, and the adapters that the smallest number can use.
        lanes = min(min(here.values()), self.lanes)
        span = Span(max(here.values()), len(here), within, between.times(lanes), between)
        if name == "all_reduce":
            return two_levels.all_reduce_s(nbytes, span, self.all_reduce)
        return _COLLECTIVES[name][1](nbytes, span), "none"

    def __repr__(self):
        parts = [f"{self.nodes} x {self.per_node} {self.device.name}"]
        parts += [f"within {self.within}"] if self.per_node > 1 else []
        lanes = f"{self.lanes} x " if self.lanes > 1 else ""
        parts += [f"between {lanes}{self.between}"] if self.nodes > 1 else []
        parts += [f"slow {self.slow}"] if self.slow else []
        parts += [f"jitter {self.jitter:g} (seed {self.seed})"] if self.jitter else []
        return f"Hardware {self.name}: {', '.join(parts)}"


def _check(hardware):
    check_name("machine", hardware.name)
    check_whole(1, nodes=hardware.nodes, per_node=hardware.per_node, lanes=hardware.lanes)
    check_whole(0, seed=hardware.seed)
    if not isinstance(hardware.device, Device):
        _refuse("Hardware needs a device.", repr(hardware.device), "give a Device or its name")
    for name, needed, why in (
        ("within", hardware.per_node > 1, f"{hardware.per_node} devices in a node"),
        ("between", hardware.nodes > 1, f"{hardware.nodes} nodes"),
    ):
        link = getattr(hardware, name)
        if not isinstance(link, Link) and (needed or link is not None):
            cure = f'give {name}=Link("10 Gbit/s", "50 us"), or the name of a link'
            _refuse(f"Hardware needs a link {name}.", f"{why}, {name}={link!r}", cure, name)
    _check_slow(hardware)
    if not is_amount(hardware.jitter):
        wrong = "jitter must be a number of at least 0."
        _refuse(wrong, f"jitter={hardware.jitter!r}", "give 0.1 for a tenth", "jitter")
    if hardware.all_reduce not in ("auto", *two_levels.ALGORITHMS):
        choice = ", ".join(("auto", *two_levels.ALGORITHMS))
        saw = f"all_reduce={hardware.all_reduce!r}"
        wrong = "There is no such all-reduce algorithm."
        _refuse(wrong, saw, f"choose one of {choice}", "all_reduce")


def _check_slow(hardware):
    cure = (
        f"choose ranks from 0 to {hardware.ranks - 1}, and say how many times slower each is: "
        "slow={2: 3.0}"
    )
    if not isinstance(hardware.slow, Mapping):
        wrong = "slow must say which ranks are slower."
        _refuse(wrong, f"slow={hardware.slow!r}", cure, "slow")
    for rank, times in hardware.slow.items():
        known = is_whole(rank) and rank in range(hardware.ranks)
        if not known or not is_amount(times) or times == 0:
            saw = f"slow={{{rank!r}: {times!r}}}"
            wrong = "slow has a rank that does not exist, or a number that is not above 0."
            _refuse(wrong, saw, cure, "slow", str(rank))


def _cost_of(cost):
    if not isinstance(cost, Sequence) or len(cost) != 4 or not is_amount(cost[3]):
        cure = 'give (flops, nbytes, precision, count), such as (2e9, 4e6, "fp32", 1)'
        _refuse("This is not the cost of an operation.", repr(cost), cure)
    return cost


def _refuse(wrong, saw, do, *about):
    raise LabError(wrong, saw=saw, do=do, about=about)


@lru_cache(maxsize=2**16)  # asked for by every operation of the step
def _drawn(seed, rank, step):
    """Draw from the exponential distribution with mean 1, with the same bits on every computer.

    This needs Decimal, because the logarithms of mathematical libraries differ in their last bit.
    """
    uniform = random.Random(f"{seed} {rank} {step}").random()
    return float(-(1 - Decimal(uniform)).ln(Context(prec=17)))

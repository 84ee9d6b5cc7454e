"""The ranks of a cluster: their roles, nodes, addresses and environment. Starts no process."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace

from lablib import frameworks
from lablib.errors import LabError

ROLES = ("chief", "worker", "ps", "evaluator")


@dataclass(frozen=True)
class Seat:
    """The place of one rank: its number, its role, its index within the role, its node."""

    rank: int
    role: str
    index: int
    node: int


@dataclass(frozen=True)
class Spec:
    """The description of a cluster. Ranks are numbered chief, worker, ps, evaluator; node by node.

    >>> Spec.of(4, nodes=2).seats[2]
    Seat(rank=2, role='worker', index=2, node=1)
    """

    framework: str
    seats: tuple[Seat, ...]
    per_node: int
    device: str = "cpu"
    threads: int | None = None

    @classmethod
    def of(
        cls,
        ranks=None,
        *,
        nodes=None,
        per_node=None,
        roles=None,
        framework="torch",
        device="cpu",
        threads=None,
    ) -> Spec:
        """Check the arguments of a cluster; raise LabError if they are not valid.

        per_node   the number of ranks that fill a node; None: spread ranks evenly over `nodes`
        """
        frameworks.get(framework)
        names = _role_names(ranks, roles)
        per_node = _spread(len(names), nodes, per_node)
        threads = None if threads is None else _count(threads, "threads")
        return cls(framework, _seats(names, per_node), per_node, device, threads)

    def on(self, per_node: int) -> Spec:
        """Return the same ranks on nodes with `per_node` ranks each."""
        names = [seat.role for seat in self.seats]
        return replace(self, seats=_seats(names, per_node), per_node=per_node)

    @property
    def ranks(self) -> int:
        return len(self.seats)

    @property
    def nodes(self) -> int:
        return self.seats[-1].node + 1

    @property
    def called(self) -> list[int]:
        """Return the ranks that run the function; the others serve."""
        return [seat.rank for seat in self.seats if not self.serves(seat)]

    def serves(self, seat: Seat) -> bool:
        """Return True if the rank runs the framework's server instead of the function."""
        roles = {other.role for other in self.seats}
        return frameworks.get(self.framework).serves(roles, seat.role)

    def environment(self, seat: Seat, ports: list[int]) -> dict[str, str]:
        """Return the variables that launchers of this framework set for a rank."""
        return frameworks.get(self.framework).environment(self.seats, seat, ports)


def threads_per_rank(cores: int, ranks: int) -> int:
    """Return the threads of every pool in a rank: an equal share, so that comparisons are fair."""
    return max(1, cores // ranks)


def _spread(ranks, nodes, per_node):
    """Return the number of ranks on a node; the last node may have fewer."""
    if per_node is None:
        nodes = 1 if nodes is None else _count(nodes, "nodes")
        if ranks % nodes:
            raise LabError(
                "The ranks do not fill the nodes evenly.",
                saw=f"{ranks} ranks on {nodes} nodes",
                do=f"choose a number of nodes that divides {ranks}",
            )
        return ranks // nodes
    filled = -(-ranks // per_node)
    if nodes not in (None, filled):
        raise LabError(
            "The number of nodes does not match the hardware.",
            saw=f"nodes={nodes}; {ranks} ranks, {per_node} on each node, fill {filled}",
            do="omit nodes, or describe other hardware with lab.Hardware",
        )
    return per_node


def _role_names(ranks, roles):
    if roles is None:
        return ["worker"] * _count(2 if ranks is None else ranks, "ranks")
    if ranks is not None:
        raise LabError(
            "Give the number of ranks or the roles, not both.",
            saw=f"{ranks!r} and roles={roles!r}",
            do="omit the number, which is the sum of the roles",
        )
    unknown = sorted(set(roles) - set(ROLES)) if isinstance(roles, dict) else [repr(roles)]
    if unknown:
        raise LabError(
            "There is no such role.",
            saw=f"roles={roles!r}",
            do="write roles={'chief': 1, 'worker': 2, 'ps': 1}; also possible: 'evaluator'",
        )
    counts = {role: _count(roles.get(role, 0), f"roles[{role!r}]", least=0) for role in ROLES}
    if not counts["worker"]:
        raise LabError(
            "A cluster with roles needs at least one worker.",
            saw=f"roles={roles!r}",
            do="add 'worker': 1",
        )
    if counts["chief"] > 1:
        raise LabError(
            "A cluster can have only one chief.", saw=f"{roles!r}", do="write 'chief': 1"
        )
    return [role for role in ROLES for _ in range(counts[role])]


def _seats(names, per_node):
    seats, seen = [], {}
    for rank, role in enumerate(names):
        index = seen[role] = seen.get(role, -1) + 1
        seats.append(Seat(rank, role, index, rank // per_node))
    return tuple(seats)


def _count(value, name, least=1):
    try:
        count = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = None
    if count is None or count < least:
        raise LabError(
            f"{name} must be a whole number, at least {least}.",
            saw=f"{name}={value!r}",
            do="write, for example, lab.Cluster(4)",
        )
    return count

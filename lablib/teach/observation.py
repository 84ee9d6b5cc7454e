"""What was seen of an answer in one case: values, what the ranks wrote down, what others saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lablib.cluster.run import Run
from lablib.record.trace import Trace
from lablib.teach.claims import OUTSIDE, RANK
from lablib.teach.exercise import Case

Sent = tuple[int, int, int]
"""(source, destination, bytes of payload) of one message."""


@dataclass(frozen=True)
class Seen:
    """values   by rank, what `observe` returned; plain data of any kind
    run        its program, trace and metrics are what the ranks wrote down themselves; None when
               the run failed
    messages   the sends that a relay outside the ranks passed on, in its order; None without one
    relayed    (rank, name, bytes) of all sends and collectives that went through the relay; None
               without one
    loopback_bytes   what crossed the ranks' network, counted outside; None where nobody counted
    problem    why there are no values, in words; "" when there are
    advice     what to do about ranks that hang, or are at work for too long; "" when they did not
    attempted  False when the exercise is still as it came, or has no answer
    """

    values: tuple = ()
    run: Run | None = None
    messages: tuple[Sent, ...] | None = None
    relayed: tuple[tuple[int, str, int], ...] | None = None
    loopback_bytes: int | None = None
    problem: str = ""
    advice: str = ""
    attempted: bool = True

    @property
    def trace(self) -> Trace:
        return self.run.trace

    def sent(self, source: int | None = None) -> list[Sent]:
        """Every send, or those of one rank in their order: the relay's, else the ranks' own."""
        sent = self.messages
        if sent is None:
            sent = [(*op.group, op.nbytes) for op in self._issued("send")]
        return [message for message in sent if source in (None, message[0])]

    @property
    def evidence(self) -> str:
        """The `evidence` of claims about `sent`, `collectives` and `put_in`. The learner's own
        check has no relay, and needs none: there is nobody to deceive."""
        return RANK if self.messages is None and self.loopback_bytes is not None else OUTSIDE

    def collectives(self, rank: int) -> list[tuple[str, int]]:
        """(name, bytes of payload) of the collectives of a rank, in order, seen by the relay, else
        by its own record; without barriers, which carry nothing."""
        return [(name, nbytes) for _, name, nbytes in self.put_in(rank) if name != "send"]

    def put_in(self, only: int | None = None) -> list[tuple[int, str, int]]:
        """(rank, name, bytes) of everything that any rank, or only this one, put into messages:
        seen by the relay, else by the ranks' own record."""
        if self.relayed is not None:
            return [entry for entry in self.relayed if only in (None, entry[0])]
        return [
            (rank, op.name, op.nbytes)
            for rank, ops in enumerate(self.run.program)
            for op in ops
            if only in (None, rank) and op.kind == "issue" and op.name not in ("recv", "barrier")
        ]

    def _issued(self, name):
        return (
            op for ops in self.run.program for op in ops if (op.kind, op.name) == ("issue", name)
        )


Way = Callable[[Case], Seen]
"""How a case is tried: on the learner's own computer, or in the box."""

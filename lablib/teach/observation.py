"""What was observed of an answer in one case: values, the ranks' records, the relay's counts."""

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
    """The observations of one case.

    values     by rank, the values that `observe` returned; plain data of any kind
    run        the run; the ranks themselves recorded its program, trace and metrics. None if the
               run failed
    messages   the sends that a relay outside the ranks passed on, in its order; None without one
    relayed    (rank, name, bytes) of all sends and collectives that went through the relay; None
               without one
    loopback_bytes   bytes on the ranks' network, counted outside the ranks; None if not counted
    problem    why there are no values, in words; "" if there are values
    advice     what to do about ranks that hang or work for too long; "" if none did
    attempted  False if the learner has not changed the exercise, or it has no answer
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
        """Return all sends, or those of one rank, from the relay or else the ranks' records."""
        sent = self.messages
        if sent is None:
            sent = [(*op.group, op.nbytes) for op in self._issued("send")]
        return [message for message in sent if source in (None, message[0])]

    @property
    def evidence(self) -> str:
        """Return the `evidence` of claims about `sent`, `collectives` and `put_in`.

        The learner's own check does not need a relay, because there is nobody to deceive.
        """
        return RANK if self.messages is None and self.loopback_bytes is not None else OUTSIDE

    def collectives(self, rank: int) -> list[tuple[str, int]]:
        """Return (name, bytes of payload) of a rank's collectives in order, without barriers.

        They come from the relay, or else from the rank's own record.
        """
        return [(name, nbytes) for _, name, nbytes in self.put_in(rank) if name != "send"]

    def put_in(self, only: int | None = None) -> list[tuple[int, str, int]]:
        """Return (rank, name, bytes) of all messages of all ranks, or of one rank.

        They come from the relay, or else from the ranks' own records.
        """
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

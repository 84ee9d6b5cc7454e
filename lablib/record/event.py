"""One event of a run: what happened when on which rank, with bytes."""

from __future__ import annotations

from dataclasses import dataclass

from lablib.record import wire_bytes

KINDS = ("message", "wait", "compute", "step", "mark")
PHASES = ("forward", "backward", "other")
CLOCKS = ("measured", "modelled")


@dataclass(frozen=True, slots=True)
class Event:
    """What one rank did between two moments of the run's clock.

    kind     "message"  a collective, a send or a recv, from its issue to its end
             "wait"     the rank's main thread stood still for the message `name`
             "compute"  the rank was busy between two waits
             "step"     one training step
             "mark"     a moment; start_s equals end_s
    nbytes   payload this rank passed to the call, not what crossed a wire
    group    global ranks that take part; of a send or a recv: (source, destination)
    phase    "forward", "backward" or "other"
    line     the learner's line that caused it, such as "cell [7], line 5"
    derived  the message follows from TensorFlow's placement: it did happen in this step,
             but when was not seen, so its times are the step's

    >>> Event(0, "message", "all_reduce", 0.25, 0.5, nbytes=4000, group=(0, 1)).seconds
    0.25
    """

    rank: int
    kind: str
    name: str
    start_s: float
    end_s: float
    nbytes: int = 0
    group: tuple[int, ...] = ()
    phase: str = "other"
    line: str = ""
    derived: bool = False

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end_s - self.start_s

    @property
    def sent_bytes(self) -> int:
        """Payload this rank put into a message; 0 for a recv, whose send counts it already."""
        return self.nbytes if self.kind == "message" and self.name != "recv" else 0

    @property
    def wire_bytes(self) -> float:
        """Bytes that this rank's link carries because of the message (`record.wire_bytes`)."""
        if self.kind != "message":
            return 0.0
        return wire_bytes.wire_bytes(self.name, self.nbytes, len(set(self.group)))

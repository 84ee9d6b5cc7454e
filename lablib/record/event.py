"""One event of a run: what happened on which rank and when, with its bytes."""

from __future__ import annotations

from dataclasses import dataclass

from lablib.record import wire_bytes

KINDS = ("message", "wait", "compute", "step", "mark")
PHASES = ("forward", "backward", "other")
DRY = "modelled, dry"
CLOCKS = ("measured", "modelled", DRY)


@dataclass(frozen=True, slots=True)
class Event:
    """What one rank did between two moments of the run's clock.

    kind     "message"  a collective, a send or a recv, from its issue to its end
             "wait"     the rank's main thread waited for the message `name`
             "compute"  the rank was busy between two waits
             "step"     one training step
             "mark"     a moment; start_s equals end_s
    nbytes   payload that this rank passed to the call, not the bytes on the wire
    group    global ranks that take part; for a send or a recv: (source, destination)
    phase    "forward", "backward" or "other"
    line     the learner's line that caused it, such as "cell [7], line 5"
    derived  True: the message follows from TensorFlow's placement. It happened in this step, but
             its time could not be observed, so it has the times of the step

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
        """Return the duration in seconds."""
        return self.end_s - self.start_s

    @property
    def sent_bytes(self) -> int:
        """Return the payload that this rank sent; 0 for a recv, because its send counts it."""
        return self.nbytes if self.kind == "message" and self.name != "recv" else 0

    @property
    def wire_bytes(self) -> float:
        """Return the bytes that this rank's link carries because of it (`record.wire_bytes`)."""
        if self.kind != "message":
            return 0.0
        return wire_bytes.wire_bytes(self.name, self.nbytes, len(set(self.group)))

"""A rank's program: its operations in order, without times. The trace has the times, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lablib.record.cost import Cost
from lablib.record.learners_code import place
from lablib.record.rows import (
    Computed,
    Derived,
    Ended,
    Issued,
    Marked,
    PhaseChanged,
    Returned,
    Row,
    StepBegun,
    StepEnded,
    Waited,
)
from lablib.record.trace import Event, Trace


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of a rank's program.

    kind    "compute", "issue" (a message is started), "wait" (the rank waits for message `number`),
            "begin" and "step" (a training step begins, and ends), "mark"
    nbytes  payload that this rank passed to the message
    group   global ranks that take part; (source, destination) for send and recv
    channel, order    messages of one channel match one another across ranks by their order, from 1;
                      order 0: in the order in which they are issued
    costs   for compute: the operations, one after the other, in numbers that hold for any device
    cpu_s   for compute: CPU seconds on this computer, if the operations were not counted
    """

    kind: str
    number: int = -1
    name: str = ""
    nbytes: int = 0
    group: tuple[int, ...] = ()
    phase: str = "other"
    line: str = ""
    channel: str = ""
    order: int = 0
    costs: tuple[Cost, ...] = ()
    cpu_s: float = 0


Program = tuple[tuple[Op, ...], ...]
"""The operations of every rank, by rank."""


def program(rows_by_rank: Iterable[Sequence[Row]]) -> Program:
    """Return what the ranks did, without times. Equal runs give equal programs.

    >>> rows = [Computed("forward", (Cost(1e9),), cpu_s=0.0), Waited(0, start_s=1, end_s=2)]
    >>> [[op.kind for op in ops] for ops in program([rows])]
    [['compute', 'wait']]
    """
    place_of = _place_of()
    return tuple(tuple(op for row in rows if (op := _op(row, place_of))) for rows in rows_by_rank)


def trace(rows_by_rank: Sequence[Sequence[Row]], *, clock: str = "measured") -> Trace:
    """Return the program with the times that the wall clock showed.

    Time 0 is when the first rank began with the first line of its function.
    """
    returned = (row for rows in rows_by_rank for row in rows if isinstance(row, Returned))
    zero_s = min((row.start_s for row in returned), default=0.0)
    place_of = _place_of()
    events = [
        _moved(event, zero_s, place_of)
        for rank, rows in enumerate(rows_by_rank)
        for event in _events(rank, rows)
    ]
    return Trace(events, clock=clock, ranks=len(rows_by_rank))


def _place_of():
    """Return a function from "file:line" to the learner's name for it, with a cache."""
    return lru_cache(maxsize=None)(lambda line: place(line) if line else "")


def _op(row, place_of):
    match row:
        case Computed(phase, costs, cpu_s):
            return Op("compute", phase=phase, costs=costs, cpu_s=cpu_s)
        case Issued(number, _, name, nbytes, group, phase, line, channel, order):
            return Op("issue", number, name, nbytes, group, phase, place_of(line), channel, order)
        case Waited():
            return Op("wait", row.number)
        case StepBegun():
            return Op("begin")
        case StepEnded():
            return Op("step")
        case Marked():
            return Op("mark", name=row.label)
    return None


def _events(rank, rows):
    ended_s = {row.number: row.at_s for row in _of(rows, Ended)}
    issued = {row.number: row for row in _of(rows, Issued)}
    waits = sorted(_waits(rows, ended_s))
    for _, end_s, number in waits:
        # The end of a message may be reported late if the thread has to wait for the GIL.
        ended_s[number] = min(ended_s.get(number, end_s), end_s)
    for row in issued.values():
        end_s = ended_s.get(row.number, row.at_s)
        yield Event(
            rank, "message", row.name, row.at_s, end_s, row.nbytes, row.group, row.phase, row.line
        )
    for start_s, end_s, number in waits:
        yield Event(rank, "wait", issued[number].name, start_s, end_s)
    for start_s, end_s, phase in _busy(rows, waits):
        yield Event(rank, "compute", "compute", start_s, end_s, phase=phase)
    steps = _of(rows, StepEnded)
    for number, step in enumerate(steps):
        yield Event(rank, "step", f"step {number}", step.start_s, step.end_s)
    for row in _of(rows, Marked):
        yield Event(rank, "mark", row.label, row.at_s, row.at_s)
    yield from (_derived(row, steps) for row in _of(rows, Derived))


def _of(rows, kind):
    return [row for row in rows if isinstance(row, kind)]


def _waits(rows, ended_s):
    """Yield (start, end, number of the message) of each wait that took time, last wait first."""
    next_s = float("inf")  # the time of the main thread's next activity
    for row in reversed(rows):
        if isinstance(row, Waited):
            open_end_s = min(ended_s.get(row.number, row.start_s), next_s)
            end_s = row.end_s if row.end_s >= 0 else open_end_s
            if end_s > row.start_s:
                yield row.start_s, end_s, row.number
        next_s = min(next_s, _written_s(row))


def _written_s(row):
    """Return when the main thread did what the row describes.

    Returns infinity if another thread wrote the row, or if it is a wait whose end is unknown.
    """
    match row:
        case Issued() | StepBegun() | PhaseChanged() | Marked():
            return row.at_s
        case StepEnded() | Returned():
            return row.end_s
        case Waited() if row.end_s >= 0:
            return row.start_s
    return float("inf")


def _busy(rows, waits):
    """Yield (start, end, phase) of each interval of one phase in which the rank did not wait."""
    returned = next(iter(_of(rows, Returned)), None)
    if returned is None:
        return
    changes = [(row.at_s, row.phase) for row in _of(rows, PhaseChanged)]
    phases = [(float("-inf"), "other"), *changes]
    ends = [at_s for at_s, _ in changes] + [float("inf")]
    for (from_s, phase), until_s in zip(phases, ends):
        now_s = max(returned.start_s, from_s)
        end_s = min(returned.end_s, until_s)
        for start_s, stop_s, _ in waits:
            if now_s < min(start_s, end_s):
                yield now_s, min(start_s, end_s), phase
            now_s = max(now_s, stop_s)
        if now_s < end_s:
            yield now_s, end_s, phase


def _derived(row, steps):
    """Return the event of a derived message. It has the time of its step."""
    step = next((one for one in steps if one.start_s <= row.at_s <= one.end_s), None)
    start_s, end_s = (step.start_s, step.end_s) if step else (row.at_s, row.at_s)
    return Event(
        row.group[0], "message", row.name, start_s, end_s, row.nbytes, row.group, line=row.line,
        derived=True,
    )  # fmt: skip


def _moved(event, zero_s, place_of):
    return Event(
        event.rank, event.kind, event.name, event.start_s - zero_s, event.end_s - zero_s,
        event.nbytes, event.group, event.phase, place_of(event.line), event.derived,
    )  # fmt: skip

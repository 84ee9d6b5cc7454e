"""A rank's program: what it did, in its order, without times; and the trace that has the times.

Rows of the recorder, one tuple each:

    ("compute", phase, costs, cpu_s)         costs: (flops, nbytes, precision, count) each
    ("issue", number, at_s, name, nbytes, group, phase, line, channel, order)
    ("done", number, at_s)
    ("wait", number, start_s, end_s)         end_s -1: until the message is done
    ("begin", at_s)                          a step begins
    ("step", start_s, end_s, samples)
    ("phase", at_s, phase)                   the forward or backward pass begins or ends
    ("mark", at_s, name)
    ("derived", at_s, name, nbytes, group, line)
    ("life", start_s, end_s)                 from the function's first line to its last
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

from lablib.record.trace import Event, Trace

Row = Sequence


class Cost(NamedTuple):
    """What one operation costs on any device.

    flops    floating point operations; a multiplication and an addition are two
    nbytes   read from and written to the device's memory
    count    how many such operations there were
    """

    flops: float
    nbytes: float = 0
    precision: str = "fp32"
    count: int = 1


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of a rank's program.

    kind    "compute", "issue" (a message is started), "wait" (the rank stands still for message
            `number`), "begin" and "step" (a training step begins, and ends), "mark"
    nbytes  payload that this rank passed to the message
    group   global ranks taking part; (source, destination) for send and recv
    channel, order    of a message: those of one channel match one another across ranks by their
                      order, from 1; 0: in the order in which they are issued
    costs   of compute: the operations, one after the other; counted for any device
    cpu_s   of compute: seconds that this computer's CPU spent on it, where nothing was counted
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


def program(rows_by_rank: Iterable[Sequence[Row]], *, place=str) -> Program:
    """What the ranks did, without times. Equal runs give equal programs.

    place   turns the recorder's "file:line" into what the learner knows it by

    >>> rows = [("compute", "forward", ((1e9, 0, "fp32", 1),), 0.0), ("wait", 0, 1, 2)]
    >>> [[op.kind for op in ops] for ops in program([rows])]
    [['compute', 'wait']]
    """
    op = partial(_op, place=lru_cache(maxsize=None)(place), costs=lru_cache(maxsize=None)(_costs))
    return tuple(tuple(filter(None, map(op, rows))) for rows in rows_by_rank)


def trace(rows_by_rank: Sequence[Sequence[Row]], *, place=str, clock="measured") -> Trace:
    """The program with the times that the wall clock saw; 0 is the first rank's first line.

    place   turns the recorder's "file:line" into what the learner knows it by
    """
    starts = [row[1] for rows in rows_by_rank for row in rows if row[0] == "life"]
    zero_s = min(starts, default=0.0)
    events = [
        event
        for rank, rows in enumerate(rows_by_rank)
        for event in _events(rank, rows, zero_s, place)
    ]
    return Trace(events, clock=clock, ranks=len(rows_by_rank))


def _op(row, place, costs):
    kind = row[0]
    if kind == "compute":
        _, phase, counted, cpu_s = row
        return Op("compute", phase=phase, costs=costs(tuple(map(tuple, counted))), cpu_s=cpu_s)
    if kind == "issue":
        _, number, _, name, nbytes, group, phase, line, channel, order = row
        line = place(line) if line else ""
        return Op("issue", number, name, nbytes, tuple(group), phase, line, channel, order)
    if kind == "wait":
        return Op("wait", row[1])
    if kind in ("begin", "step", "mark"):
        return Op(kind, name=row[2] if kind == "mark" else "")
    return None


def _costs(rows):
    """Equal segments become one tuple: there are few, and each stands in a program many times."""
    return tuple(Cost(*row) for row in rows)


def _events(rank, rows, zero_s, place):
    done = {row[1]: row[2] for row in rows if row[0] == "done"}
    issued = {row[1]: row for row in rows if row[0] == "issue"}
    life = next((row for row in rows if row[0] == "life"), None)
    waits = sorted(_waits(rows, done))
    for _, end_s, number in waits:  # its end may be told late, by a thread that waits for the GIL
        done[number] = min(done.get(number, end_s), end_s)
    messages = [
        Event(rank, "message", name, at, done.get(number, at), nbytes, tuple(group), phase, line)
        for _, number, at, name, nbytes, group, phase, line, *_ in issued.values()
    ]
    waited = [Event(rank, "wait", issued[number][3], a, b) for a, b, number in waits]
    busy = [
        Event(rank, "compute", "compute", a, b, phase=phase)
        for a, b, phase in _between(life, waits, _phases(rows))
    ]
    steps = [Event(rank, "step", f"step {n}", row[1], row[2]) for n, row in _numbered(rows, "step")]
    marks = [Event(rank, "mark", row[2], row[1], row[1]) for _, row in _numbered(rows, "mark")]
    everything = messages + waited + busy + steps + marks + _derived(rows)
    return [_moved(event, zero_s, place) for event in everything]


def _waits(rows, done):
    next_s = float("inf")  # when the rank's main thread did something again
    for row in reversed(rows):
        if row[0] == "wait":
            end_s = row[3] if row[3] >= 0 else min(done.get(row[1], row[2]), next_s)
            if end_s > row[2]:
                yield row[2], end_s, row[1]
        next_s = min(next_s, _seen_s(row))


_SEEN_AT = {"issue": 2, "wait": 2, "begin": 1, "step": 2, "phase": 1, "mark": 1, "life": 2}


def _seen_s(row):
    """When the main thread was seen; never, by rows that other threads wrote or that stay open."""
    if row[0] not in _SEEN_AT or (row[0] == "wait" and row[3] < 0):
        return float("inf")
    return row[_SEEN_AT[row[0]]]


def _phases(rows):
    """(from when, phase) in order; "other" from the start."""
    return [(float("-inf"), "other"), *(row[1:] for row in rows if row[0] == "phase")]


def _between(life, waits, phases):
    """The stretches of a rank's life in which it did not wait, each of one phase."""
    if life is None:
        return
    ends = [at_s for at_s, _ in phases[1:]] + [float("inf")]
    for (from_s, phase), until_s in zip(phases, ends):
        now_s, end_s = max(life[1], from_s), min(life[2], until_s)
        for start_s, stop_s, _ in waits:
            if now_s < min(start_s, end_s):
                yield now_s, min(start_s, end_s), phase
            now_s = max(now_s, stop_s)
        if now_s < end_s:
            yield now_s, end_s, phase


def _derived(rows):
    steps = [row for _, row in _numbered(rows, "step")]
    events = []
    for _, row in _numbered(rows, "derived"):
        _, at_s, name, nbytes, group, line = row
        within = next((s for s in steps if s[1] <= at_s <= s[2]), (None, at_s, at_s))
        events.append(
            Event(
                group[0],
                "message",
                name,
                within[1],
                within[2],
                nbytes,
                tuple(group),
                line=line,
                derived=True,
            )  # fmt: skip
        )
    return events


def _numbered(rows, kind):
    return enumerate(row for row in rows if row[0] == kind)


def _moved(event, zero_s, place):
    return Event(
        event.rank, event.kind, event.name, event.start_s - zero_s, event.end_s - zero_s,
        event.nbytes, event.group, event.phase, place(event.line) if event.line else "",
        event.derived,
    )  # fmt: skip

"""The rows that a rank writes down while it runs, in its order: one class for each kind of row.

A rank's times are seconds on a clock that all ranks of the computer share; `nbytes` is payload.
Rows are sent to the kernel as plain lists, the kind first. `typed` reads them there: it believes
nothing, because the learner's code can write rows, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lablib.record.cost import Cost
from lablib.record.fields import check_message, checked


class Computed(NamedTuple):
    """The rank computed something after the row before.

    phase    "forward", "backward" or "other"
    costs    the operations, one after the other; empty where they are not counted
    cpu_s    CPU seconds that the operations took, where they are not counted
    """

    phase: str
    costs: tuple[Cost, ...]
    cpu_s: float


class Issued(NamedTuple):
    """The rank started a message.

    number   of the message on this rank, from 0
    name     "send", "recv", or the name of a collective
    group    global ranks that take part; (source, destination) for send and recv, where a source of
             -1 is any rank
    line     "file:line" of the learner that caused it; "" where that is not known
    channel, order    messages of one channel match one another across ranks by their order, from 1
    """

    number: int
    at_s: float
    name: str
    nbytes: int
    group: tuple[int, ...]
    phase: str
    line: str
    channel: str
    order: int


class Ended(NamedTuple):
    """The message has ended. A thread of the framework can write this row."""

    number: int
    at_s: float


class Waited(NamedTuple):
    """The rank's main thread stood still for a message.

    end_s    -1 if nobody saw the end: then it is the end of the message
    """

    number: int
    start_s: float
    end_s: float


class StepBegun(NamedTuple):
    """A training step begins."""

    at_s: float


class StepEnded(NamedTuple):
    """A training step has ended; `samples` are this rank's own."""

    start_s: float
    end_s: float
    samples: int


class PhaseChanged(NamedTuple):
    """The forward or backward pass begins or ends; `phase` is the one from now on."""

    at_s: float
    phase: str


class Marked(NamedTuple):
    """The learner marked this moment with a label."""

    at_s: float
    label: str


class Derived(NamedTuple):
    """A message that follows from the framework's placement: it happened, but nobody saw when."""

    at_s: float
    name: str
    nbytes: int
    group: tuple[int, ...]
    line: str


class Returned(NamedTuple):
    """The learner's function has returned; it ran from its first line to its last."""

    start_s: float
    end_s: float


Row = (
    Computed | Issued | Ended | Waited | StepBegun | StepEnded | PhaseChanged | Marked | Derived
    | Returned
)  # fmt: skip
_KINDS: dict[str, type[Row]] = {
    "computed": Computed,
    "issued": Issued,
    "ended": Ended,
    "waited": Waited,
    "step begun": StepBegun,
    "step ended": StepEnded,
    "phase changed": PhaseChanged,
    "marked": Marked,
    "derived": Derived,
    "returned": Returned,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def plain(rows: Iterable[Row]) -> list[list]:
    """Return the rows as plain lists, which can be sent: the kind, then the fields.

    >>> plain([Ended(number=3, at_s=0.5)])
    [['ended', 3, 0.5]]
    """
    return [[_NAMES[type(row)], *map(_without_tuples, row)] for row in rows]


def typed(rows: object) -> list[Row]:
    """Return the rows that `plain` wrote. Raises ValueError for a row that no recorder writes.

    >>> typed([["ended", 3, 0.5]])
    [Ended(number=3, at_s=0.5)]
    >>> typed([["ended", 3]])
    Traceback (most recent call last):
    ValueError: Ended has 2 fields
    """
    if type(rows) is not list:
        raise ValueError("a rank sent no list of rows")
    found = [_typed(row) for row in rows]
    issued = {row.number for row in found if isinstance(row, Issued)}
    if any(row.number not in issued for row in found if isinstance(row, Waited)):
        raise ValueError("a rank waited for a message that it had not issued")
    return found


def _typed(row):
    kind = _KINDS.get(row[0]) if type(row) is list and row and type(row[0]) is str else None
    if kind is None:
        raise ValueError("a rank sent a row of no known kind")
    found = checked(kind, row[1:])
    if kind in (Issued, Derived):
        check_message(found.name, found.group)
    return found


def _without_tuples(value):
    return [_without_tuples(part) for part in value] if isinstance(value, tuple) else value

"""The rows that a rank records while it runs, in order: one class for each kind of row.

A rank's times are seconds on a clock that all ranks of the computer share; `nbytes` is payload.
Rows are sent to the kernel as plain lists that begin with the kind. The kernel checks their types
and bounds, because the learner's code can write rows, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lablib.record.bounds import (
    Channel,
    Count,
    Group,
    Label,
    Line,
    Name,
    Phase,
    Seconds,
    Whole,
    check_message,
)
from lablib.record.cost import Cost


class Row(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """The base of all rows. Making one takes no longer than making a tuple."""


class Computed(Row, tag="computed"):
    """The rank computed something after the row before.

    phase    "forward", "backward" or "other"
    costs    the operations, one after the other; empty if they are not counted
    cpu_s    CPU seconds that the operations took, if they are not counted
    """

    phase: Phase
    costs: tuple[Cost, ...]
    cpu_s: Seconds


class Issued(Row, tag="issued"):
    """The rank started a message.

    number   number of the message on this rank, from 0
    name     "send", "recv", or the name of a collective
    group    global ranks that take part; (source, destination) for send and recv, where a source of
             -1 means any rank
    line     "file:line" of the learner's code that caused it; "" if unknown
    channel, order    messages of one channel match one another across ranks by their order, from 1
    """

    number: Count
    at_s: Seconds
    name: Name
    nbytes: Count
    group: Group
    phase: Phase
    line: Line
    channel: Channel
    order: Count


class Ended(Row, tag="ended"):
    """The message has ended. A thread of the framework can write this row."""

    number: Count
    at_s: Seconds


class Waited(Row, tag="waited"):
    """The rank's main thread waited for a message.

    end_s    -1 if the end could not be observed; then the wait ends with the message
    """

    number: Count
    start_s: Seconds
    end_s: Seconds


class StepBegun(Row, tag="step begun"):
    """A training step begins."""

    at_s: Seconds


class StepEnded(Row, tag="step ended"):
    """A training step has ended; `samples` are this rank's own."""

    start_s: Seconds
    end_s: Seconds
    samples: Whole


class PhaseChanged(Row, tag="phase changed"):
    """The forward or backward pass begins or ends; `phase` is the phase from now on."""

    at_s: Seconds
    phase: Phase


class Marked(Row, tag="marked"):
    """The learner marked this moment with a label."""

    at_s: Seconds
    label: Label


class Derived(Row, tag="derived"):
    """A message that follows from the framework's placement: it happened at an unknown time."""

    at_s: Seconds
    name: Name
    nbytes: Count
    group: Group
    line: Line


class Returned(Row, tag="returned"):
    """The learner's function has returned; it ran from its first line to its last."""

    start_s: Seconds
    end_s: Seconds


AnyRow = (
    Computed | Issued | Ended | Waited | StepBegun | StepEnded | PhaseChanged | Marked | Derived
    | Returned
)  # fmt: skip


def check_rows(rows: Sequence[Row]) -> None:
    """Raise ValueError if rows with the right types do not fit together."""
    issued = {row.number for row in rows if isinstance(row, Issued)}
    for row in rows:
        if isinstance(row, Issued | Derived):
            check_message(row.name, row.group)
        elif isinstance(row, Waited) and row.number not in issued:
            raise ValueError("a rank waited for a message that it had not issued")

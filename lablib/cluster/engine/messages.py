"""The messages of a rank to the kernel: four kinds, each with fixed fields.

`live` in `cluster/local/rank.py` writes them; but the learner's code runs beside it and may write
them, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lablib.record import rows

# Why a rank failed. The rank finds this out from the exception itself, where it still has it.
RAISED = "raised"
LEFT = "left"  # by SystemExit
UNSENDABLE = "unsendable"  # the function returned something that cannot be sent
MEMORY = "memory"  # an allocation was refused
DISK = "disk"  # a file or the disk is full
UNWRITTEN = "unwritten"  # the exercise is still as learners get it
SERVER = "server"  # TensorFlow's server did not start, so nothing of the learner's has run here
CAUSES = (RAISED, LEFT, UNSENDABLE, MEMORY, DISK, UNWRITTEN, SERVER)
FORGED = "forged"  # it sent a message that no rank of the kit sends; the kernel finds this out


@dataclass(frozen=True)
class Begun:
    """The learner's function begins on this rank, or its server has started."""

    kind = "begun"


@dataclass(frozen=True)
class Value:
    """What the function returned."""

    value: Any
    kind = "value"


@dataclass(frozen=True)
class Failed:
    """Why the rank has no value.

    cause    one of CAUSES, or FORGED
    type     name of the exception's type; `text` is what it says
    frames   [file, line, function] of each of the learner's frames, the innermost last
    echo     the error looks like what a rank sees when another one has died
    at_s     when it failed, on a clock that all ranks of the computer share
    """

    cause: str
    type: str
    text: str
    frames: list[list]
    echo: bool
    at_s: float
    kind = "error"


@dataclass(frozen=True)
class Record:
    """What the rank wrote down while it ran; the fields are those of `Run`'s records."""

    rows: list[rows.Row]
    logged: list[dict]
    cpu_s: float
    peak_bytes: int
    live_bytes: list[int]
    clock_reads: list[list]
    kind = "record"


@dataclass(frozen=True)
class Died:
    """The rank's process has ended: with this exit status, or below zero with this signal."""

    code: int
    at_s: float


_OF_A_RANK = {of.kind: of for of in (Begun, Value, Failed, Record)}


def forged(why: str) -> Failed:
    """Return the event for a rank that sent a message that no rank of the kit sends."""
    return Failed(FORGED, "NotARanksMessage", why, [], False, 0.0)


def read(message: object) -> Begun | Value | Failed | Record:
    """The message as one of the four kinds. Raises ValueError if a rank cannot have written it."""
    kind = kind_of(message)
    fields = {name: part for name, part in message.items() if name != "kind"}
    if kind == "record":
        fields["rows"] = rows.typed(fields["rows"])
    return _OF_A_RANK[kind](**fields)


_NUMBER = (int, float)
_FORMS = {
    "begun": {},
    "value": {"value": object},
    "error": {
        "cause": str, "type": str, "text": str, "frames": list, "echo": bool, "at_s": _NUMBER,
    },
    "record": {
        "rows": list, "logged": list, "cpu_s": _NUMBER, "peak_bytes": int, "live_bytes": list,
        "clock_reads": list,
    },
}  # fmt: skip


def kind_of(message: object) -> str:
    """ "begun", "value", "error" or "record". Raises ValueError for what has not exactly that form.

    >>> kind_of({"kind": "value", "value": 3})
    'value'
    >>> kind_of({"kind": "value", "value": 3, "score": 100})
    Traceback (most recent call last):
    ValueError: a rank sent a value of another form
    """
    kind = message.get("kind") if isinstance(message, dict) else None
    form = _FORMS.get(kind) if isinstance(kind, str) else None
    if form is None:
        raise ValueError("a rank sent a message of no known kind")
    fields = {name: part for name, part in message.items() if name != "kind"}
    alike = set(fields) == set(form) and all(isinstance(fields[name], form[name]) for name in form)
    if not (alike and _parts_are_plain(kind, fields)):
        raise ValueError(f"a rank sent a{'n' if kind == 'error' else ''} {kind} of another form")
    return kind


def _parts_are_plain(kind, fields):
    if kind == "error":
        return (
            fields["cause"] in CAUSES
            and _is_time(fields["at_s"])
            and all(map(_is_frame, fields["frames"]))
        )
    if kind == "record":
        return (
            _is_time(fields["cpu_s"])
            and all(isinstance(logged, dict) for logged in fields["logged"])
            and all(type(nbytes) is int for nbytes in fields["live_bytes"])
            and all(map(_is_clock_read, fields["clock_reads"]))
        )
    return True


def _is_time(seconds):
    try:
        return math.isfinite(seconds)
    except OverflowError:  # a whole number larger than any float
        return False


def _is_clock_read(read):
    return isinstance(read, list) and [type(part) for part in read] == [str, str, int]


def _is_frame(frame):
    return isinstance(frame, list) and [type(part) for part in frame] == [str, int, str]

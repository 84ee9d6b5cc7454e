"""Bounds for the fields of a recorder's rows and boards that come from a rank.

The learner's code runs in the same process as the recorder and can write anything in its place.
`msgspec.convert` refuses values that do not have these types or lie outside of these bounds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from lablib.record.event import PHASES

LARGEST = 2**53  # a float represents every whole number up to this one
LONGEST_LABEL = 1000
LONGEST_LOGGED = 40
MOST_LOGGED = 100
MOST_UNCOSTED = 20
LONGEST_UNCOSTED = 200

Whole = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
Count = Annotated[int, Meta(ge=0, le=LARGEST)]
Seconds = Annotated[float, Meta(ge=-1e15, le=1e15)]
Amount = Annotated[int, Meta(ge=0, le=2**62)] | Annotated[float, Meta(ge=0, le=1e30)]
Name = Annotated[str, Meta(max_length=60)]
Label = Annotated[str, Meta(max_length=LONGEST_LABEL)]
Channel = Annotated[str, Meta(max_length=4096)]
Line = Annotated[str, Meta(pattern=r"(?s)\A(.{0,200}:[0-9]{1,9})?\Z")]
Group = tuple[Whole, ...]
Phase = Literal[PHASES]
State = Literal["", "running", "waiting", "returned"]
Short = Annotated[str, Meta(max_length=LONGEST_LOGGED)]
Logged = Annotated[dict[Short, Whole | float | bool | Short], Meta(max_length=MOST_LOGGED)]

Uncosted = Annotated[
    list[Annotated[str, Meta(max_length=LONGEST_UNCOSTED)]], Meta(max_length=MOST_UNCOSTED)
]


def check_message(name: str, group: tuple[int, ...]) -> None:
    """Raise ValueError if no message can have this name and these ranks."""
    if not name or len(group) < (2 if name in ("send", "recv") else 1):
        raise ValueError(f"no message {name!r} has {len(group)} ranks")

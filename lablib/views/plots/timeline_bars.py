"""The parts of a timeline: bars of the main thread, and of the messages below them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lablib.record import intervals
from lablib.record.event import Event
from lablib.record.trace import Trace
from lablib.views import palette

# Positions in a row of height 1, from its top: the main thread, the messages; below each is the
# level of the critical path.
MAIN, MESSAGES = (0.26, 0.30), (0.64, 0.27)
BELOW_MAIN, BELOW_MESSAGES = 0.60, 0.955
_MOST_LANES = 3


class Bar(NamedTuple):
    """One ink from one moment to another; top and height are in rows."""

    ink: palette.Ink
    start_s: float
    end_s: float
    top: float
    height: float


class Placed(NamedTuple):
    """A message and its lane."""

    event: Event
    top: float
    height: float


def compute_inks(trace: Trace, waits_seen: bool) -> dict[str, palette.Ink]:
    """Return the inks of computing by pass, as far as the trace shows passes."""
    if not waits_seen:
        return dict.fromkeys(palette.PASSES, palette.BUSY)
    if all(event.phase == "other" for event in trace if event.kind == "compute"):
        return dict.fromkeys(palette.PASSES, palette.COMPUTE)
    return palette.PASSES


def main_thread(rank: int, events: list[Event], inks: dict[str, palette.Ink]) -> Iterator[Bar]:
    """Yield the bars of computing, by pass, and of waiting."""
    for event in events:
        if event.kind in ("compute", "wait"):
            ink = palette.WAITING if event.kind == "wait" else inks[event.phase]
            yield Bar(ink, event.start_s, event.end_s, rank + MAIN[0], MAIN[1])


def placed(rank: int, events: list[Event]) -> list[Placed]:
    """Put messages into lanes, so that those at the same time are below one another."""
    messages = [event for event in events if event.kind == "message" and not event.derived]
    numbers = intervals.lanes([(event.start_s, event.end_s) for event in messages])
    lanes = min(max(numbers, default=0) + 1, _MOST_LANES)
    top, height = rank + MESSAGES[0], MESSAGES[1] / lanes
    return [
        Placed(event, top + height * (number % lanes), height)
        for event, number in zip(messages, numbers, strict=True)
    ]


def messages(rank: int, events: list[Event], waits_seen: bool) -> Iterator[Bar]:
    """Yield messages, cut where computing hides them; derived messages are hollow."""
    derived = [(event.start_s, event.end_s) for event in events if event.derived]
    for start_s, end_s in intervals.union(derived):
        yield Bar(palette.DERIVED, start_s, end_s, rank + MESSAGES[0], MESSAGES[1])
    computing = intervals.union((e.start_s, e.end_s) for e in events if e.kind == "compute")
    for event, top, height in placed(rank, events):
        span = [(event.start_s, event.end_s)]
        if not waits_seen:
            yield Bar(palette.COMMUNICATION, *span[0], top, height)
            continue
        hidden = intervals.common(span, computing)
        for ink, stretches in (
            (palette.HIDDEN, hidden),
            (palette.EXPOSED, intervals.without(span, hidden)),
        ):
            yield from (Bar(ink, start_s, end_s, top, height) for start_s, end_s in stretches)

"""Count how many bytes each rank sends to each other rank, from the messages of a trace."""

from __future__ import annotations

from collections import defaultdict

from lablib.record.trace import Trace
from lablib.views.window import Window

RULE = "what a rank sends for a collective is spread evenly over the others of its group"


def traffic(trace: Trace, span: Window | None = None) -> dict[tuple[int, int], float]:
    """Return (source, destination) -> wire bytes, without pairs that sent nothing.

    span   count only messages that were issued within this window; None: all

    A message between two ranks counts once, at the send. The messages inside a collective cannot be
    observed from outside the library. So the wire bytes of each rank (`record.wire_bytes`) are
    spread evenly over the other ranks of its group.

    >>> from lablib.record.event import Event
    >>> three = [Event(r, "message", "all_reduce", 0, 1, 12, (0, 1, 2)) for r in range(3)]
    >>> sent = traffic(Trace([*three, Event(0, "message", "send", 1, 2, 4, (0, 1))]))
    >>> sent[0, 1], sent[1, 0]  # 2 (R - 1) / R 12 = 16 bytes, on two others; and the send
    (12.0, 8.0)
    """
    sent: dict[tuple[int, int], float] = defaultdict(float)
    for event in trace:
        within = span is None or span.start_s <= event.start_s < span.end_s
        if not (event.sent_bytes and within):
            continue
        others = set(event.group[1:]) if event.name == "send" else set(event.group) - {event.rank}
        for other in others:
            sent[event.rank, other] += event.wire_bytes / len(others)
    return dict(sorted(sent.items()))


def has_collectives(trace: Trace) -> bool:
    """Return whether the trace has collectives, whose traffic is spread evenly."""
    return any(event.sent_bytes and event.name != "send" for event in trace)

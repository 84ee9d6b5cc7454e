"""Who sends how many bytes to whom, from the messages of a trace."""

from __future__ import annotations

from collections import defaultdict

from lablib.record.trace import Trace
from lablib.views.window import Window

RULE = "of a collective, each rank's payload is spread evenly over the others of its group"


def traffic(trace: Trace, span: Window | None = None) -> dict[tuple[int, int], float]:
    """(source, destination) -> bytes of payload; pairs that sent nothing are left out.

    span   counts messages that were issued within it; None: all

    Between two ranks exactly, once, at the send. Of a collective nobody outside the library sees
    who sent what to whom: each rank's payload is spread evenly over the others of its group.
    So the sum is what all ranks put into messages, not what an algorithm moves over wires.

    >>> from lablib.record.event import Event
    >>> both = [Event(r, "message", "all_reduce", 0, 1, 8, (0, 1)) for r in (0, 1)]
    >>> traffic(Trace([*both, Event(0, "message", "send", 1, 2, 4, (0, 1))]))
    {(0, 1): 12.0, (1, 0): 8.0}
    """
    sent: dict[tuple[int, int], float] = defaultdict(float)
    for event in trace:
        within = span is None or span.start_s <= event.start_s < span.end_s
        if not (event.sent_bytes and within):
            continue
        others = event.group[1:] if event.name == "send" else set(event.group) - {event.rank}
        for other in others:
            sent[event.rank, other] += event.nbytes / len(others)
    return dict(sorted(sent.items()))


def has_collectives(trace: Trace) -> bool:
    """Whether some of its traffic is spread by the rule."""
    return any(event.sent_bytes and event.name != "send" for event in trace)

"""Match each recv with its send between two ranks. A trace has no tags that would identify them."""

from __future__ import annotations

from collections.abc import Iterable

from lablib.record.event import Event


def in_order(sends: Iterable[Event], recvs: Iterable[Event]) -> list[Event]:
    """Return the recvs in the order of their sends, which are ordered by their starts.

    Usually this is the order in which the recvs were issued. If a recv would then end before its
    send starts, the tags are crossed, and the recvs are returned in the order in which they end.

    >>> sends = [Event(0, "message", "send", start_s, start_s) for start_s in (1, 5)]
    >>> late, soon = (Event(1, "message", "recv", 0, end_s) for end_s in (6, 2))
    >>> [recv.end_s for recv in in_order(sends, [late, soon])]
    [2, 6]
    """
    sends = sorted(sends, key=lambda send: send.start_s)
    asked = sorted(recvs, key=lambda recv: recv.start_s)
    if all(send.start_s <= recv.end_s for send, recv in zip(sends, asked)):
        return asked
    return sorted(asked, key=lambda recv: recv.end_s)

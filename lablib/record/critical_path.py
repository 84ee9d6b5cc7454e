"""Find the critical path: the chain of compute and messages that determined how long a run took."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from lablib.record import matched_sends, metrics
from lablib.record.event import Event
from lablib.record.trace import Trace

UNKNOWN = "unknown"
_POINT_TO_POINT = ("send", "recv")


def critical_path(
    trace: Trace, since_s: float | None = None, until_s: float | None = None
) -> tuple[Event, ...]:
    """Return the critical path, found by walking back from the last end.

    At each wait the walk continues on the rank that was waited for.

    since_s, until_s    the time span to explain, on the trace's clock; None: from the trace's first
                        start to its last end

    The events are in the order of time. Each is cut to the part that counted and starts where the
    event before it ended. A "message" has the rank whose issue let it start. An event of kind
    "unknown" means that the trace does not show what this rank did or for whom it waited. The path
    is empty if the trace has messages but could not observe waits (TensorFlow's graphs, messages
    derived from placement), because then it is unknown what the ranks waited for.

    Messages match across ranks by group, name and order. A collective starts when its last rank has
    issued it. A send starts without the receiver on the modelled clock; if measured, it starts when
    both sides are ready. Earlier messages of the same group, or of the same sender, go first.
    Delays by messages of other groups on the same link count as part of the message.

    >>> slow, quick = (Event(r, "compute", "compute", 0, s) for r, s in ((1, 3), (0, 1)))
    >>> sums = [Event(r, "message", "all_reduce", s, 5, group=(0, 1)) for r, s in ((0, 1), (1, 3))]
    >>> waits = [Event(r, "wait", "all_reduce", s, 5) for r, s in ((0, 1), (1, 3))]
    >>> path = critical_path(Trace([slow, quick, *sums, *waits]))
    >>> [(event.rank, event.name, event.start_s, event.end_s) for event in path]
    [(1, 'compute', 0, 3), (1, 'all_reduce', 3, 5)]
    """
    if not metrics.waits_seen(trace):
        return ()
    ends = [event for event in trace if _ends_by(event, until_s)]
    if not ends:
        return ()
    since_s = trace[0].start_s if since_s is None else since_s
    # If several events end last, prefer a rank's own work to a message that no rank waited for.
    last = max(ends, key=lambda event: (event.end_s, event.kind != "message", -event.rank))
    path = []
    for event in _Walk(trace, since_s).back_from(last):
        if event.end_s > max(since_s, event.start_s):
            path.append(replace(event, start_s=max(event.start_s, since_s)))
        if event.start_s <= since_s:
            break
    return tuple(reversed(path))


def _ends_by(event, until_s):
    counts = event.kind != "mark" and not event.derived
    return counts and (until_s is None or event.end_s <= until_s)


@dataclass
class _Message:
    """One collective, or a send and its recv, as each rank recorded it."""

    group: tuple[int, ...]
    parts: dict[int, Event] = field(default_factory=dict)

    @property
    def whole(self):
        return set(self.group) <= self.parts.keys()


class _Walk:
    def __init__(self, trace: Trace, since_s: float):
        self.since_s = since_s
        self.sends_need_nobody = trace.clock != "measured"
        self.threads = defaultdict(list)
        self.messages: dict[tuple, _Message] = {}
        self.issued = defaultdict(list)  # by rank and name, in the order of issue
        self.queues = defaultdict(list)  # messages that are sent one after the other
        self.explained: set[tuple] = set()
        messages = [event for event in trace if event.kind == "message" and not event.derived]
        for event, order in _orders(messages):
            self._add(event, order)
        for event in trace:
            if event.kind in ("compute", "wait"):
                self.threads[event.rank].append(event)
        self.starts = {
            rank: [event.start_s for event in events] for rank, events in self.threads.items()
        }

    def _add(self, event, order):
        name = "send and recv" if event.name in _POINT_TO_POINT else event.name
        message = self.messages.setdefault((name, event.group, order), _Message(event.group))
        message.parts[event.rank] = event
        self.issued[event.rank, event.name].append((event, message))
        self.queues[_queue(event)].append((event, message))

    def back_from(self, last: Event) -> Iterator[Event]:
        """Yield the path's events, the last one first."""
        rank, now_s = last.rank, last.end_s
        if last.kind == "message":
            message = next(m for e, m in self.issued[last.rank, last.name] if e is last)
            rank, now_s = yield from self._through(last, message, now_s)
        while now_s > self.since_s:
            event = self._doing(rank, now_s)
            if event.kind != "wait":
                yield replace(event, end_s=now_s)
                now_s = event.start_s
                continue
            found = self._waited_for(event, now_s)
            if found:
                rank, now_s = yield from self._through(*found, now_s)
            else:
                yield replace(event, kind=UNKNOWN, end_s=now_s)
                now_s = event.start_s

    def _doing(self, rank, now_s):
        """Return what the rank's main thread did until this moment."""
        thread = self.threads[rank]
        before = bisect_left(self.starts.get(rank, ()), now_s) - 1
        if before >= 0 and thread[before].end_s >= now_s:
            return thread[before]
        start_s = thread[before].end_s if before >= 0 else self.since_s
        return Event(rank, UNKNOWN, "nothing recorded", start_s, now_s)

    def _waited_for(self, wait, now_s):
        """Return the event and the message whose end ended this wait; None if they are unknown."""
        # Waits without length in a cycle of messages without length would be followed forever.
        again = (wait.rank, wait.start_s) in self.explained
        self.explained.add((wait.rank, wait.start_s))
        fitting = [
            (event, message)
            for event, message in self.issued[wait.rank, wait.name]
            if event.start_s <= wait.start_s < event.end_s and message.whole
        ]
        if again or now_s < wait.end_s or not fitting:
            return None
        return min(fitting, key=lambda found: abs(found[0].end_s - wait.end_s))

    def _through(self, event, message, now_s):
        """Walk back through a message and those it queued behind; return (rank, issue time)."""
        while True:
            began = self._began(event, message, now_s)
            held = self._held_by(began, now_s)
            if held is None:
                yield replace(began, end_s=now_s)
                return began.rank, began.start_s
            event, message = held
            yield replace(began, start_s=event.end_s, end_s=now_s)
            now_s = event.end_s

    def _began(self, event, message, now_s):
        """Return the part of the message that let it start: the part that was issued last."""
        parts = [part for part in message.parts.values() if part.start_s <= now_s]
        if self.sends_need_nobody and event.name in _POINT_TO_POINT:
            parts = [part for part in parts if part.name == "send"] or [event]
        return max(parts, key=lambda part: (part.start_s, part.rank == event.rank))

    def _held_by(self, began, now_s):
        """Return the earlier message of the queue that delayed this one; None if there is none."""
        queue = self.queues[_queue(began)]
        place = next(place for place, (event, _) in enumerate(queue) if event is began)
        for event, message in reversed(queue[:place]):
            if event.end_s <= began.start_s:
                return None
            if event.end_s < now_s and message.whole:
                return event, message
        return None


def _orders(messages):
    """Return (event, its position among its rank's messages with the same name and group)."""
    alike = defaultdict(list)
    for event in messages:
        alike[event.rank, event.name, event.group].append(event)
    order = {}
    for (_, name, group), events in alike.items():
        if name == "recv":
            events = matched_sends.in_order(alike.get((group[0], "send", group), ()), events)
        order |= {id(event): place for place, event in enumerate(events)}
    return [(event, order[id(event)]) for event in messages]


def _queue(event):
    """Return the queue of a message: those of one group, or the sends of one rank, go in turn."""
    if event.name in _POINT_TO_POINT:
        return event.rank, event.name
    return event.rank, event.group

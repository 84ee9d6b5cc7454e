"""Group the messages of a trace into the rounds of a collective that is written by hand."""

from __future__ import annotations

from collections import defaultdict

from lablib.record.event import Event
from lablib.record.trace import Trace


def rounds(trace: Trace) -> list[list[Event]]:
    """Return the sends of each round, in order; without sends, each collective is a round.

    If the ranks mark steps, a message belongs to the step in which it was issued. Without steps, a
    send is one round after the last message that its rank sent or received before it.

    >>> def pair(name, rank, at, source, to):
    ...     return Event(rank, "message", name, at, at + 1, 8, (source, to))
    >>> tree = [pair("send", 0, 0, 0, 1), pair("recv", 1, 0, 0, 1),
    ...         pair("send", 0, 1, 0, 2), pair("send", 1, 1, 1, 3)]
    >>> [[event.group for event in each] for each in rounds(Trace(tree))]
    [[(0, 1)], [(0, 2), (1, 3)]]
    """
    messages = [event for event in trace if event.kind == "message"]
    between_two = any(event.name == "send" for event in messages)
    number = _by_step(trace) if trace.of(kind="step") else _by_cause(messages, between_two)
    found: dict[int, list[Event]] = defaultdict(list)
    for event in messages:
        counts = event.name == "send" if between_two else event.name != "recv"
        if counts and (at := number(event)) is not None:
            found[at].append(event)
    return [found[at] for at in range(max(found, default=-1) + 1)]


def _by_step(trace):
    steps = {rank: list(part) for rank, part in trace.of(kind="step").by_rank().items()}

    def number(event):
        for at, step in enumerate(steps.get(event.rank, ())):
            if step.start_s <= event.start_s <= step.end_s:
                return at
        return None

    return number


def _by_cause(messages, between_two):
    """Return the round of each message.

    A send comes after everything that it had to wait for. For collectives, round n has the n-th
    call of every rank.
    """
    chosen: dict[int, int] = {}
    calls: dict[int, int] = defaultdict(int)
    heard: dict[int, list[tuple[float, int]]] = defaultdict(list)  # rank -> (end_s, round)
    arrivals = defaultdict(list)
    for event in messages:
        if event.name == "recv":
            arrivals[event.group].append(event)
    taken: dict[tuple, int] = defaultdict(int)
    for event in messages:
        if not between_two:
            chosen[id(event)] = calls[event.rank]
            calls[event.rank] += 1
        elif event.name == "send":
            before = [at for end_s, at in heard[event.rank] if end_s <= event.start_s]
            chosen[id(event)] = at = max(before, default=-1) + 1
            # Two sends of a rank follow each other, even if the first one ends later.
            heard[event.rank].append((float("-inf"), at))
            order = taken[event.group]
            taken[event.group] = taken[event.group] + 1
            if order < len(arrivals[event.group]):
                heard[event.group[1]].append((arrivals[event.group][order].end_s, at))
    return lambda event: chosen.get(id(event))

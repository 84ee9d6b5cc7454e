"""Write events in the trace-event format that ui.perfetto.dev and chrome://tracing open.

Each rank is a process with threads for steps ("main"), marks, compute, messages and waits. In this
format, two events of a thread may be nested but must not overlap, so overlapping messages get
further threads ("messages 2"). Source of the format: "Trace Event Format", Google, 2016. Process 0
is not used, because Perfetto takes it for Linux's idle process (github.com/google/perfetto, issue
394).

Perfetto draws an arrow from the slice that starts first, even if the file says otherwise (`End` in
its src/trace_processor/importers/common/flow_tracker.cc). A recv often starts before its send. Such
a recv contains a slice "transfer", which starts with the send, and the arrow ends there.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

from lablib.record import matched_sends
from lablib.record.event import Event
from lablib.record.intervals import lanes

_FIRST_PROCESS = 1000
_THREADS = {
    "step": "main",
    "mark": "marks",
    "compute": "compute",
    "message": "messages",
    "wait": "wait",
}


def text(events: Sequence[Event], clock: str) -> str:
    """Return the file as JSON; `events` are sorted by start, times count from the first one."""
    origin_s = events[0].start_s if events else 0.0
    threads = _threads(events)
    rows = [*_names(threads, clock), *_slices(threads, origin_s), *_arrows(threads, origin_s)]
    file = {"traceEvents": rows, "displayTimeUnit": "ms", "otherData": {"clock": clock}}
    # Perfetto refuses escaped surrogates, and UTF-8 cannot represent a lone surrogate.
    return json.dumps(file, ensure_ascii=False).encode(errors="replace").decode()


def _threads(events):
    """Return {(rank, number of the thread, name of the thread): events that do not overlap}."""
    by_name = defaultdict(list)
    for event in events:
        by_name[event.rank, _THREADS[event.kind]].append(event)
    threads = defaultdict(list)
    for (rank, name), members in by_name.items():
        order = list(_THREADS.values()).index(name)
        spans = [(event.start_s, event.end_s) for event in members]
        for event, lane in zip(members, lanes(spans), strict=True):
            # Viewers sort threads by number, so leave room for further lanes between the numbers.
            number = 1 + order * 10_000 + lane
            threads[rank, number, name if lane == 0 else f"{name} {lane + 1}"].append(event)
    return dict(sorted(threads.items()))


def _names(threads, clock):
    for rank in sorted({rank for rank, _, _ in threads}):
        yield _meta(rank, 0, "process_name", {"name": f"rank {rank}, {clock}"})
        yield _meta(rank, 0, "process_sort_index", {"sort_index": rank})
    for rank, number, name in threads:
        yield _meta(rank, number, "thread_name", {"name": name})
        yield _meta(rank, number, "thread_sort_index", {"sort_index": number})


def _meta(rank, number, name, args):
    return {"ph": "M", "name": name, "pid": _FIRST_PROCESS + rank, "tid": number, "args": args}


def _slices(threads, origin_s):
    for (rank, number, _), events in threads.items():
        for event in events:
            span_s = event.start_s - origin_s, event.end_s - origin_s
            row = _slice((rank, number), event.name, event.kind, span_s)
            if event.kind == "mark":
                row |= {"ph": "i", "s": "t"}
                del row["dur"]
            yield row | {"args": _args(event)}


def _slice(place, name, kind, span_s):
    # Round to whole nanoseconds. If start and length were rounded separately, neighbours would
    # overlap.
    start_ns, end_ns = map(_ns, span_s)
    row = _at(place, "X", name, kind, start_ns)
    return row | {"dur": (end_ns - start_ns) / 1e3}


def _ns(seconds):
    return round(seconds * 1e9)


def _at(place, phase, name, kind, at_ns):
    rank, number = place
    return {
        "ph": phase,
        "name": name,
        "cat": kind,
        "pid": _FIRST_PROCESS + rank,
        "tid": number,
        "ts": at_ns / 1e3,
    }


def _args(event):
    args = {"phase": event.phase}
    if event.kind == "message":
        args |= {"bytes": event.nbytes, "group": list(event.group)}
    if event.derived:
        args["derived"] = "follows from TensorFlow's placement; its time was not seen"
    return args | ({"line": event.line} if event.line else {})


def _arrows(threads, origin_s):
    """Yield an arrow from each send to its recv."""
    places = defaultdict(lambda: {"send": [], "recv": []})
    for (rank, number, _), events in threads.items():
        for event in events:
            if event.kind == "message" and event.name in ("send", "recv") and not event.derived:
                places[event.group][event.name].append((event, rank, number))
    pairs = [pair for ends in places.values() for pair in _pairs(**ends)]
    for flow, ((sent, *source), (received, *target)) in enumerate(pairs, start=1):
        start_s = sent.start_s - origin_s
        end_s = received.end_s - origin_s
        if received.start_s < sent.start_s:
            yield _slice(target, "transfer", "message", (start_s, end_s))
        # A viewer attaches the arrow to the innermost slice that is open at this time.
        arrival_s = max(start_s, received.start_s - origin_s)
        yield _at(source, "s", "message", "flow", _ns(start_s)) | {"id": flow}
        yield _at(target, "f", "message", "flow", _ns(arrival_s)) | {"id": flow, "bp": "e"}


def _pairs(send, recv):
    """Yield the events, ranks and threads of each send and its recv, if the trace has both.

    A part of a trace may lack one of them. Then the recv seems to end before its send starts.
    """
    events = {id(place[0]): place for place in recv}
    recvs = matched_sends.in_order([place[0] for place in send], [place[0] for place in recv])
    for sent, received in zip(sorted(send, key=_start), recvs, strict=False):
        if received.end_s >= sent[0].start_s:
            yield sent, events[id(received)]


def _start(place):
    return place[0].start_s

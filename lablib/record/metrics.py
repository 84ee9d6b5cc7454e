"""Metrics of a trace: throughput, speed-up, communication share, bubble, wire bytes, payload ...

All metrics about steps omit each rank's first step, because it warms caches, traces graphs and
builds buckets. A number that cannot be computed from the trace is NaN, never 0.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING

from lablib.record import intervals
from lablib.record.event import PHASES
from lablib.record.trace import Trace

if TYPE_CHECKING:
    import pandas

NAN = math.nan


def step_s(trace: Trace, rank: int) -> list[float]:
    """Return the seconds of each of this rank's steps, in order, including the first."""
    return [event.seconds for event in trace.of(rank=rank, kind="step")]


def samples_per_s(trace: Trace, batch: int) -> float:
    """Return the samples trained per second after the first step, which is a warm-up.

    batch    samples in one step, on all ranks together

    The time begins when the last rank ends its first step, and ends when the last rank ends its
    last step. Returns NaN if no rank has two steps, or if ranks have different numbers of steps,
    because steps then do not have `batch` samples.
    """
    ends = [[event.end_s for event in steps] for steps in _steps(trace).values()]
    lengths = {len(end_s) for end_s in ends}
    if len(lengths) != 1 or lengths == {1}:
        return NAN
    span_s = max(end_s[-1] for end_s in ends) - max(end_s[0] for end_s in ends)
    return (lengths.pop() - 1) * batch / span_s if span_s > 0 else NAN


def comm_share(trace: Trace) -> float:
    """Return the share of the steps' time that communication took, 0 to 1, the mean over ranks.

    `comm_counted(trace)` says what is counted:
    "waits"     seconds in which the rank's main thread stood still for a message;
    "messages"  seconds in which any message was under way. This is counted if messages ran inside
                a graph (TensorFlow), where waits cannot be observed. Messages may overlap with
                compute, so this is an upper bound. Derived messages, whose time was not observed,
                do not count;
    "none"      no message was under way in any step, so the share is 0;
    "unseen"    there are only derived messages, so the share is NaN.

    Returns NaN if no rank has two steps, or if steps took no time.
    """
    counted = comm_counted(trace)
    windows = _windows(trace)
    if not windows or counted == "unseen":
        return NAN
    kind = {"waits": "wait", "messages": "message"}.get(counted)
    parts = trace.by_rank()
    shares = [
        intervals.seconds(intervals.common(_seen(parts[rank], kind), window)) / total_s
        for rank, window in windows.items()
        if (total_s := intervals.seconds(window))
    ]
    return statistics.fmean(shares) if shares else NAN


def comm_counted(trace: Trace) -> str:
    """Return what `comm_share` counts in this trace: "waits", "messages", "none" or "unseen"."""
    windows = _windows(trace)
    found = {
        "unseen" if event.derived else event.kind + "s"
        for event in trace
        if event.kind in ("wait", "message")
        and _step_of(event, windows.get(event.rank, [])) is not None
    }
    if trace.clock != "measured" and "messages" in found:
        return "waits"  # a simulation has all waits, so without waits no rank waited
    return next((basis for basis in ("waits", "messages", "unseen") if basis in found), "none")


def waits_seen(trace: Trace) -> bool:
    """Return whether the trace shows when ranks waited.

    It does not if messages ran inside a graph (TensorFlow), where waits cannot be observed. Traces
    with the modelled clock always show waits.
    """
    if trace.clock != "measured":
        return True
    kinds = {event.kind for event in trace}
    in_graphs = comm_counted(trace) in ("messages", "unseen")
    return not in_graphs and ("wait" in kinds or "message" not in kinds)


def wire_bytes(trace: Trace) -> dict[int, float]:
    """Return the bytes that each rank's link carries in one step: rank -> median over the steps.

    For each link, the larger of the sent and the received bytes counts. `record.wire_bytes` has the
    formula of each collective. A message between two ranks counts on both links, in the step in
    which its sender issued it. A rank that serves marks no steps; its messages count in the steps
    of the first rank that does. Returns {} if no rank has two steps.
    """
    steps = _messages_by_step(trace, _windows(trace))
    carried = [_carried(messages) for messages in steps]
    ranks = range(trace.ranks) if steps else ()
    return {rank: float(statistics.median(step[rank] for step in carried)) for rank in ranks}


def wire_bytes_per_rank(trace: Trace) -> float:
    """Return the wire bytes of one step on the busiest rank; NaN if no rank has two steps."""
    return max(wire_bytes(trace).values(), default=NAN)


def last_steps_wire_bytes(trace: Trace, steps: int = 1) -> float:
    """Return the wire bytes of the last `steps` steps on the busiest rank; NaN without steps."""
    last = _messages_by_step(trace, _windows(trace, first=0))[-steps:]
    return float(max(_carried(chain(*last)).values(), default=0)) if last else NAN


def payload_bytes_per_step(trace: Trace) -> float:
    """Return the payload that all ranks together pass to messages in one step (median over steps).

    An all-reduce of n bytes on R ranks counts R n, and an all-gather to n bytes counts n. So the
    payloads of different collectives cannot be compared; compare `wire_bytes` instead. A message
    between two ranks counts once, at its send. Returns NaN if no rank has two steps, and 0 for a
    strategy that sends in fewer than half of its steps, such as `fedavg` with local_epochs=3.
    """
    steps = _messages_by_step(trace, _windows(trace))
    totals = [sum(event.sent_bytes for event in messages) for messages in steps]
    return float(statistics.median(totals)) if totals else NAN


def _messages_by_step(trace, windows):
    """Return the messages that all ranks issued in each step; [] without steps."""
    if not windows:
        return []
    steps = [[] for _ in range(max(map(len, windows.values())))]
    for event in trace.of(kind="message"):
        number = _step_of(event, windows.get(event.rank, windows[min(windows)]))
        if number is not None:
            steps[number].append(event)
    return steps


def _carried(messages):
    """Return {rank: bytes that its link carries in its busier direction}."""
    sent, received = Counter(), Counter()
    for event in messages:
        if event.name == "recv":
            continue  # counted at its send, because a derived message has no recv
        source, target = event.group if event.name == "send" else (event.rank, event.rank)
        sent[source] += event.wire_bytes
        received[target] += event.wire_bytes
    return sent | received  # `|` of two counters takes the larger value of each


def step_messages(trace: Trace, steps: int = 1) -> dict[str, tuple[int, int]]:
    """Return name -> (calls, payload bytes) of the last `steps` steps, on all ranks together.

    A call belongs to the step in which its rank made it. Bytes count only at the send.
    """
    last = {rank: of_rank[-steps:] for rank, of_rank in _steps(trace).items()}
    totals: dict[str, tuple[int, int]] = {}
    for event in trace.of(kind="message"):
        inside = last.get(event.rank, [])
        if any(step.start_s <= event.start_s <= step.end_s for step in inside):
            calls, nbytes = totals.get(event.name, (0, 0))
            totals[event.name] = calls + 1, nbytes + event.sent_bytes
    return totals


def overlap_share(trace: Trace) -> float:
    """Return the share of the messages' time in which the same rank also computed, 0 to 1.

    The seconds of all ranks within their steps count. Returns NaN if `comm_counted` is not "waits",
    because without waits it is not known when a rank computed.
    """
    if comm_counted(trace) != "waits":
        return NAN
    messages_s = both_s = 0.0
    parts = trace.by_rank()
    for rank, window in _windows(trace).items():
        messages = intervals.common(_seen(parts[rank], "message"), window)
        compute = intervals.common(_seen(parts[rank], "compute"), window)
        messages_s += intervals.seconds(messages)
        both_s += intervals.seconds(intervals.common(messages, compute))
    return both_s / messages_s if messages_s else NAN


def bubble(trace: Trace) -> float:
    """Return the share of the steps' time in which a rank was idle, 0 to 1, the mean over ranks.

    A rank is idle while it does not compute and no bytes move to or from it. Bytes move from the
    moment at which the sender, or the last rank of a collective, has issued the message. A rank
    that stands still before this moment waits for the work of another rank. Returns NaN if no rank
    has two steps, or if `comm_counted` is not "waits" or "none", because compute is then unknown.

    A pipeline of p equal stages and m micro-batches has (p - 1) / (m + p - 1), Huang et al. 2019.
    """
    if comm_counted(trace) not in ("waits", "none"):
        return NAN
    parts, bytes_move = trace.by_rank(), moving(trace)
    shares = []
    for rank, window in _windows(trace).items():
        busy = intervals.common(_seen(parts[rank], "compute") + bytes_move[rank], window)
        if total_s := intervals.seconds(window):
            shares.append(1 - intervals.seconds(busy) / total_s)
    return statistics.fmean(shares) if shares else NAN


def moving(trace: Trace) -> dict[int, list[intervals.Interval]]:
    """Return rank -> when bytes moved to or from it, as `bubble` counts it; [] if none did.

    The n-th message with a name and group belongs to the n-th such message of the other ranks.
    """
    calls = defaultdict(lambda: defaultdict(list))
    for event in trace.of(kind="message"):
        calls[event.name.replace("recv", "send"), event.group][event.rank].append(event)
    found = defaultdict(list)
    for (name, group), by_rank in calls.items():
        for together in zip(*by_rank.values(), strict=False):
            if name == "send":
                end_s = min(event.end_s for event in together)
                # A receive from any rank does not name the sender, so its bytes are not known.
                sends = [event.start_s for event in together if event.name == "send"]
                start_s = min(sends, default=end_s)
                for rank in group:
                    found[rank].append((start_s, end_s))
            else:
                start_s = max(event.start_s for event in together)
                for event in together:
                    found[event.rank].append((start_s, event.end_s))
    return found


def step_split(trace: Trace) -> dict[str, float]:
    """Return the parts of a step's time, as shares that add up to 1 (mean over ranks and steps).

    "forward", "backward", "other"    the rank computed, by pass
    "moving"    the rank stood still while bytes moved to or from it
    "idle"      the rank stood still and no bytes moved: it waited for another rank (`bubble`)

    If waits cannot be observed (`comm_counted` is "messages"), "moving" is the time in which a
    message was under way, which is an upper bound, and the rest is "other". Returns {} if no rank
    has two steps, or if all messages were derived.
    """
    counted, windows = comm_counted(trace), _windows(trace)
    if not windows or counted == "unseen":
        return {}
    if counted == "messages":
        share = comm_share(trace)
        return {"other": 1 - share, "moving": share}
    parts, bytes_move = trace.by_rank(), moving(trace)
    shares = defaultdict(list)
    for rank, window in windows.items():
        total_s = intervals.seconds(window)
        stretches = _by_activity(parts[rank], bytes_move[rank], window)
        for name, stretch in stretches.items() if total_s else ():
            shares[name].append(intervals.seconds(stretch) / total_s)
    return {name: statistics.fmean(each) for name, each in shares.items()}


def _by_activity(part, bytes_move, window):
    found, left = {}, window
    by_phase = {
        phase: [(e.start_s, e.end_s) for e in part if e.kind == "compute" and e.phase == phase]
        for phase in PHASES
    }
    for name, stretches in {**by_phase, "moving": bytes_move}.items():
        found[name] = intervals.common(left, stretches)
        left = intervals.without(left, stretches)
    return found | {"idle": left}


def speedup(samples_per_s: float, single_samples_per_s: float) -> float:
    """Return how many times faster than one process it is; NaN if a rate is unknown or zero.

    >>> speedup(300.0, 100.0)
    3.0
    """
    known = samples_per_s > 0 and single_samples_per_s > 0
    return samples_per_s / single_samples_per_s if known else NAN


def efficiency(speedup: float, ranks: int) -> float:
    """Return the speed-up per rank; 1 is ideal. Raises ValueError if ranks < 1.

    >>> efficiency(3.0, ranks=4)
    0.75
    """
    if ranks < 1:
        raise ValueError(f"ranks={ranks}: there must be at least one rank")
    return speedup / ranks


def amdahl_speedup(serial: float, ranks: int) -> float:
    """Return the speed-up on a problem of fixed size; the share `serial` runs on one rank only.

    1 / (s + (1 - s) / R). Amdahl, "Validity of the single processor approach to achieving large
    scale computing capabilities", AFIPS 1967.

    >>> amdahl_speedup(0.5, ranks=3)
    1.5
    """
    return 1 / (serial + (1 - serial) / ranks)


def gustafson_speedup(serial: float, ranks: int) -> float:
    """Return the scaled speed-up of a problem that grows with the ranks: s + (1 - s) R.

    serial   serial share of the time on R ranks, 0 to 1. (Amdahl's is a share of the time on one
             rank.)

    Gustafson, "Reevaluating Amdahl's law", Communications of the ACM 31(5), 1988.

    >>> gustafson_speedup(0.25, ranks=5)
    4.0
    """
    return serial + (1 - serial) * ranks


def table(
    trace: Trace, resources: Mapping[int, Mapping[str, float]] | None = None
) -> pandas.DataFrame:
    """Return one row for each rank: what it did, and how it spent its time.

    resources    more columns by rank, such as {0: {"cpu_s": 1.2, "peak_bytes": 3e6}}

    Columns: rank, clock; steps (their number), step_s (the median after the first); compute_s and
    wait_s (seconds of the whole trace, where overlaps count once; in TensorFlow's graphs, waits
    cannot be observed, so wait_s is NaN and the waits are in compute_s); messages (their number),
    wire_bytes (bytes on the rank's link, as in `wire_bytes`, but in the whole trace), payload_bytes
    (passed to messages; a recv does not count); then the columns of `resources`.
    """
    import pandas

    resources = resources or {}
    parts = trace.by_rank()
    unseen = {} if waits_seen(trace) else {"wait_s": NAN}
    carried = _carried(trace.of(kind="message"))
    rows = [
        {"rank": rank, "clock": trace.clock}
        | _row(parts.get(rank, Trace()), carried[rank])
        | unseen
        | dict(resources.get(rank, {}))
        for rank in range(trace.ranks)
    ]
    columns = ["rank", "clock", *_row(Trace(), 0)]
    more = [name for row in rows for name in row if name not in columns]
    return pandas.DataFrame(rows, columns=[*columns, *dict.fromkeys(more)])


def _row(part, wire_bytes):
    steps = [event.seconds for event in part if event.kind == "step"]
    return {
        "steps": len(steps),
        "step_s": statistics.median(steps[1:]) if len(steps) > 1 else NAN,
        "compute_s": intervals.seconds(_seen(part, "compute")),
        "wait_s": intervals.seconds(_seen(part, "wait")),
        "messages": sum(event.kind == "message" for event in part),
        "wire_bytes": float(wire_bytes),
        "payload_bytes": sum(event.sent_bytes for event in part),
    }


def _steps(trace):
    return trace.of(kind="step").by_rank()


def _windows(trace, first=1):
    """Return {rank: (start, end) of its steps from number `first` on}; omit ranks without any."""
    return {
        rank: [(event.start_s, event.end_s) for event in steps[first:]]
        for rank, steps in _steps(trace).items()
        if len(steps) > first
    }


def _seen(part, kind):
    """Return when events of this kind took place; the times of derived events are unknown."""
    return [
        (event.start_s, event.end_s) for event in part if event.kind == kind and not event.derived
    ]


def _step_of(event, window):
    """Return the number of the step in which the event began; None if it began outside of steps."""
    number = bisect_right(window, (event.start_s, math.inf)) - 1
    return number if number >= 0 and event.start_s < window[number][1] else None

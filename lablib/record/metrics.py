"""What a trace says in numbers: throughput, speed-up, efficiency, communication share, bytes.

Every number about steps leaves out each rank's first step: it warms caches, traces graphs and
builds buckets. A number that the trace cannot give is NaN, never 0.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lablib.record import intervals
from lablib.record.trace import Trace

if TYPE_CHECKING:
    import pandas

NAN = math.nan


def step_s(trace: Trace, rank: int) -> list[float]:
    """Seconds of each of this rank's steps, in order, the first one included."""
    return [event.seconds for event in trace.of(rank=rank, kind="step")]


def samples_per_s(trace: Trace, batch: int) -> float:
    """Samples trained per second once the first step, the warm-up, is over.

    batch    samples of one step, all ranks together

    From the moment when the last rank ended its first step to the moment when the last rank
    ended its last. NaN when no rank has two steps, or when the ranks differ in their number
    of steps: `batch` is then not what a step trained.
    """
    ends = [[event.end_s for event in steps] for steps in _steps(trace).values()]
    lengths = {len(end_s) for end_s in ends}
    if len(lengths) != 1 or lengths == {1}:
        return NAN
    span_s = max(end_s[-1] for end_s in ends) - max(end_s[0] for end_s in ends)
    return (lengths.pop() - 1) * batch / span_s if span_s > 0 else NAN


def comm_share(trace: Trace) -> float:
    """Share of the steps' time that communication took, 0 to 1, the mean over the ranks.

    What is counted, `comm_counted(trace)` says:
    "waits"     seconds in which the rank's main thread stood still for a message;
    "messages"  there are no waits in the steps, because messages ran inside a graph (TensorFlow):
                seconds in which any message was under way. It may have overlapped with
                compute, so this is an upper bound. Derived messages, whose time was not
                seen, do not count;
    "none"      no message was under way in any step: 0;
    "unseen"    there are derived messages only: NaN.

    NaN when no rank has two steps, or steps took no time.
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
    """What `comm_share` counts in this trace: "waits", "messages", "none" or "unseen"."""
    windows = _windows(trace)
    found = {
        "unseen" if event.derived else event.kind + "s"
        for event in trace
        if event.kind in ("wait", "message")
        and _step_of(event, windows.get(event.rank, [])) is not None
    }
    return next((basis for basis in ("waits", "messages", "unseen") if basis in found), "none")


def bytes_per_step(trace: Trace) -> float:
    """Payload that all ranks put into messages in one step, the median over the steps.

    Counted is what each rank passed to a call that began in its step: an all-reduce of n bytes
    on R ranks counts R n, whatever its algorithm sends over the wire; a message between
    two ranks counts once, at its send; derived messages count. A rank that marks no steps,
    because it serves, counts in those of the first rank that does. NaN when no rank has two.
    """
    windows = _windows(trace)
    if not windows:
        return NAN
    totals = [0] * max(map(len, windows.values()))
    for event in trace:
        number = _step_of(event, windows.get(event.rank, windows[min(windows)]))
        if number is not None:
            totals[number] += event.sent_bytes
    return float(statistics.median(totals))


def overlap_share(trace: Trace) -> float:
    """Share of the messages' time in which the same rank also computed, 0 to 1.

    Seconds over all ranks, within their steps. NaN when `comm_counted` is not "waits":
    without waits nothing tells compute from standing still.
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


def speedup(samples_per_s: float, single_samples_per_s: float) -> float:
    """How many times faster than one process; NaN when either rate is unknown or zero.

    >>> speedup(300.0, 100.0)
    3.0
    """
    known = samples_per_s > 0 and single_samples_per_s > 0
    return samples_per_s / single_samples_per_s if known else NAN


def efficiency(speedup: float, ranks: int) -> float:
    """Speed-up per rank; 1 is ideal. Raises ValueError when ranks < 1.

    >>> efficiency(3.0, ranks=4)
    0.75
    """
    if ranks < 1:
        raise ValueError(f"ranks={ranks}: at least one rank did the work")
    return speedup / ranks


def table(
    trace: Trace, resources: Mapping[int, Mapping[str, float]] | None = None
) -> pandas.DataFrame:
    """One row a rank: what it did, and how its time went.

    resources    more columns by rank, such as {0: {"cpu_s": 1.2, "peak_bytes": 3e6}}

    Columns: rank, clock; steps (how many), step_s (the median after the first); compute_s and
    wait_s (seconds of the whole trace, overlaps once); messages (how many),
    payload_bytes (put into messages, recv not counted again); then those of `resources`.
    """
    import pandas

    resources = resources or {}
    parts = trace.by_rank()
    rows = []
    for rank in range(trace.ranks):
        part = parts.get(rank, Trace())
        rows.append(
            {"rank": rank, "clock": trace.clock} | _row(part) | dict(resources.get(rank, {}))
        )
    columns = ["rank", "clock", *_row(Trace())]
    more = [name for row in rows for name in row if name not in columns]
    return pandas.DataFrame(rows, columns=[*columns, *dict.fromkeys(more)])


def _row(part):
    steps = [event.seconds for event in part if event.kind == "step"]
    return {
        "steps": len(steps),
        "step_s": statistics.median(steps[1:]) if len(steps) > 1 else NAN,
        "compute_s": intervals.seconds(_seen(part, "compute")),
        "wait_s": intervals.seconds(_seen(part, "wait")),
        "messages": sum(event.kind == "message" for event in part),
        "payload_bytes": sum(event.sent_bytes for event in part),
    }


def _steps(trace):
    return trace.of(kind="step").by_rank()


def _windows(trace):
    """rank -> the (start, end) of its steps after the first; ranks without any are left out."""
    return {
        rank: [(event.start_s, event.end_s) for event in steps[1:]]
        for rank, steps in _steps(trace).items()
        if len(steps) > 1
    }


def _seen(part, kind):
    """When events of this kind were under way; derived ones were not seen."""
    return [
        (event.start_s, event.end_s) for event in part if event.kind == kind and not event.derived
    ]


def _step_of(event, window):
    """The number of the step in which the event began, None when in none of them."""
    number = bisect_right(window, (event.start_s, math.inf)) - 1
    return number if number >= 0 and event.start_s < window[number][1] else None

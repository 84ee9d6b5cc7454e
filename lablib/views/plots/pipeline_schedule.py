"""The schedule of a pipeline: which micro-batch each rank works on when, and the bubble."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from lablib.errors import LabError
from lablib.record import intervals, metrics
from lablib.record.trace import Event, Trace
from lablib.units import show_s
from lablib.views import palette
from lablib.views.window import Window, only, step_count, window

if TYPE_CHECKING:
    from lablib.views.picture import Picture

_MOST_ROWS = 16
_LEAST_SEEN = 0.001  # share of the width below which an interval is not visible
_TOP, _HEIGHT = 0.14, 0.72
# Shares of the width: a box needs this much for its edges and for each digit.
_EDGES, _DIGIT = 0.0095, 0.0065
_BETWEEN_TWO = ("send", "recv")


class MicroBatchBox(NamedTuple):
    """One pass of one micro-batch on one rank."""

    rank: int
    phase: str  # "forward" or "backward"
    micro_batch: int
    start_s: float
    end_s: float


class Schedule(NamedTuple):
    """The schedule of one step of a pipeline.

    boxes       passes, in the order of their ranks and their time
    idle        rank -> stretches in which it was idle, as `record.metrics.bubble` counts them
    bubble      share of the step in which a rank was idle, 0 to 1, the mean over the ranks
    in_flight   rank -> the most micro-batches between their forward and their backward pass
    stages, micro_batches    p and m; stages counts the ranks that send to one another
    """

    boxes: list[MicroBatchBox]
    idle: dict[int, list[intervals.Interval]]
    bubble: float
    in_flight: dict[int, int]
    stages: int
    micro_batches: int


def schedule(
    trace: Trace, step: int | None = None, *, turns: int = 1, micro_batches: int | None = None
) -> Schedule:
    """Read the passes of one step from a trace, measured or modelled.

    step            the step, from 0; None: the last one
    turns           the number of stages on each rank (more than 1 in an interleaved pipeline)
    micro_batches   the number of micro-batches in a step; None: as many as the trace shows

    A pass ends where its rank sends or receives something, or where the other pass begins. Raises
    LabError if the trace has no such step or no passes, or if ranks have different numbers of them.
    """
    step = step_count(trace) - 1 if step is None else step
    window(trace, step)  # raises an error that says what is wrong with the step
    parts = {
        rank: part for rank, part in trace.by_rank().items() if len(part.of(kind="step")) > step
    }
    spans = {rank: _span(part, step) for rank, part in parts.items()}
    runs = {rank: _passes(part, spans[rank]) for rank, part in parts.items()}
    count = _agreed(runs, turns, micro_batches)
    stages = _stages(trace)
    boxes = [box for rank, (by_message, by_pass) in runs.items()
             for box in _numbered(rank, by_message if _fits(by_message, count * turns) else by_pass,
                                  count, turns, stages)]  # fmt: skip
    idle, shares = {}, []
    moving = metrics.moving(trace)
    for rank, part in parts.items():
        computing = [(e.start_s, e.end_s) for e in part if e.kind == "compute"]
        idle[rank] = intervals.without([spans[rank]], computing + moving[rank])
        shares.append(intervals.seconds(idle[rank]) / (spans[rank][1] - spans[rank][0]))
    in_flight = {rank: _in_flight(boxes, rank) for rank in parts}
    return Schedule(boxes, idle, sum(shares) / len(shares), in_flight, stages, count)


def _span(part, step):
    event = part.of(kind="step")[step]
    return event.start_s, event.end_s


def _passes(part, span):
    """Yield forward and backward passes of a rank, cut at messages and at other compute."""
    by_message: list[list] = []
    by_pass: list[list] = []
    fresh_message = fresh_pass = True
    for event in part:
        if not span[0] <= event.start_s < span[1]:
            continue
        if event.kind == "message" and event.name in _BETWEEN_TWO:
            fresh_message = fresh_pass = True
        elif event.kind == "compute" and event.phase == "other":
            fresh_pass = True
        elif event.kind == "compute":
            fresh_message = _extend(by_message, event, fresh_message)
            fresh_pass = _extend(by_pass, event, fresh_pass)
    return by_message, by_pass


def _extend(boxes, event: Event, fresh):
    if fresh or boxes[-1][0] != event.phase:
        boxes.append([event.phase, event.start_s, event.end_s])
    boxes[-1][2] = event.end_s
    return False


def _fits(boxes, count):
    return all(sum(b[0] == phase for b in boxes) == count for phase in ("forward", "backward"))


def _agreed(runs, turns, micro_batches):
    """Return how many micro-batches all ranks have; raise LabError if they do not agree."""
    counts = {
        rank: sum(box[0] == "forward" for box in by_message)
        for rank, (by_message, _) in runs.items()
    }
    count = micro_batches or max(counts.values(), default=0) // turns
    for rank, choices in runs.items():
        if not count or not any(_fits(boxes, count * turns) for boxes in choices):
            backward = sum(box[0] == "backward" for box in choices[0])
            raise LabError(
                "This step does not look like a pipeline's.",
                saw=f"rank {rank} has {counts[rank]} forward and {backward} backward passes, "
                f"expected {count * turns} of each",
                do="draw the run of a pipeline; pass turns= if a rank has several stages, and "
                "micro_batches= if there is no gap between passes",
            )
    return count


def _stages(trace):
    """Return the largest number of ranks that are connected by messages between two ranks."""
    joined = {rank: {rank} for rank in range(trace.ranks)}
    for event in trace.of(kind="message"):
        if event.name in _BETWEEN_TWO and min(event.group) >= 0:
            one, other = (joined[rank] for rank in event.group)
            if one is not other:
                one |= other
                for rank in other:
                    joined[rank] = one
    return max((len(group) for group in joined.values()), default=0)


def _numbered(rank, boxes, count, turns, stages):
    """Number the passes by micro-batch: in order, or by rounds if a rank has several stages."""
    done: dict[str, int] = defaultdict(int)
    a_round = count // max(1, count // stages) if turns > 1 else 1
    for phase, start_s, end_s in boxes:
        number = done[phase]
        done[phase] += 1
        micro = number // (a_round * turns) * a_round + number % a_round
        yield MicroBatchBox(rank, phase, micro, start_s, end_s)


def _in_flight(boxes, rank):
    most = now = 0
    for box in boxes:
        if box.rank == rank:
            now += 1 if box.phase == "forward" else -1
            most = max(most, now)
    return most


def pipeline(
    trace: Trace, step: int | None = None, *, turns: int = 1, micro_batches: int | None = None
) -> Picture:
    """Plot the schedule of one step: a row for each rank, micro-batch numbers, and the bubble.

    The arguments and the errors are those of `schedule`. Micro-batches are numbered from 0. The
    text beside each row says for which share of the step the rank was idle, and how many
    micro-batches it kept for their backward pass, at most. At most 16 ranks are drawn. The line
    below gives the bubble of equal stages without messages, (p - 1) / (v m + p - 1) with v stages
    on each rank (Huang and others, GPipe, 2019; Narayanan and others, "Efficient large-scale
    language model training on GPU clusters", 2021).
    """
    from lablib.views.picture import blank, drawing

    step = step_count(trace) - 1 if step is None else step
    found = schedule(trace, step, turns=turns, micro_batches=micro_batches)
    span = window(trace, step)
    shown = min(trace.ranks, _MOST_ROWS)
    clock = ", ".join([trace.clock, *only(trace, step)])
    title = f"Schedule of a pipeline ({clock}): bubble {found.bubble:.0%}"
    ideal = _ideal(found, turns)
    with drawing():
        picture = blank(9, 2.0 + 0.44 * shown)
        axes = picture.subplots()
        handles = _draw_bars(axes, trace, found, span, step, shown)
        _draw_numbers(axes, found, span, shown)
        _draw_rows(axes, found, span, shown, step, trace)
        axes.set_title(title, loc="left")
        picture.legend(
            handles.values(), handles, loc="outside lower center", ncols=3,
            title=ideal, title_fontsize=9,
        )  # fmt: skip
    rows = "; ".join(_describe_rank(found, rank, span) for rank in sorted(found.idle))
    picture.alt = f"{title}. {ideal}. {rows}."
    return picture


def _ideal(found, turns):
    p, m = found.stages, found.micro_batches
    share = (p - 1) / (turns * m + p - 1)
    v = f"{turns} × " if turns > 1 else ""
    formula = f"({p} - 1) / ({v}{m} + {p} - 1)"
    return f"Equal stages without messages: {formula} = {share:.0%} bubble (modelled)"


def _draw_bars(axes, trace, found, span: Window, step, shown):
    """Draw passes, other compute, messages for which a rank waits, and the bubble."""
    bars = defaultdict(list)
    for box in found.boxes:
        ink = palette.PASSES[box.phase]
        bars[ink].append((box.rank, box.start_s, box.end_s))
    moving = metrics.moving(trace)
    for rank, part in trace.by_rank().items():
        if rank not in found.idle:
            continue
        within = [_span(part, step)]
        passes = [(box.start_s, box.end_s) for box in found.boxes if box.rank == rank]
        busy = [(e.start_s, e.end_s) for e in part if e.kind == "compute"]
        rest = intervals.without(intervals.common(within, busy), passes)
        exposed = intervals.without(intervals.common(within, moving[rank]), passes + busy)
        bars[palette.OTHER] += [(rank, *stretch) for stretch in rest]
        bars[palette.EXPOSED] += [(rank, *stretch) for stretch in exposed]
        bars[palette.BUBBLE] += [(rank, *stretch) for stretch in found.idle[rank]]
    order = (*palette.PASSES.values(), palette.EXPOSED, palette.BUBBLE)
    least_s = _LEAST_SEEN * (span.end_s - span.start_s)
    seen = [ink for ink in order if any(end - start >= least_s for _, start, end in bars[ink])]
    return {ink.label: _draw_alike(axes, bars[ink], ink, span, shown) for ink in seen}


def _draw_alike(axes, members, ink, span, shown):
    drawn = None
    for rank in range(shown):
        spans = [(span.at(a), span.at(b) - span.at(a)) for r, a, b in members if r == rank]
        drawn = axes.broken_barh(
            spans, (rank + _TOP, _HEIGHT), facecolor=ink.color, hatch=ink.hatch,
            edgecolor=palette.TEXT, linewidth=0.5 if ink in palette.PASSES.values() else 0.2,
        )  # fmt: skip
    return drawn


def _draw_numbers(axes, found, span, shown):
    paper = {"facecolor": palette.PAPER, "edgecolor": "none", "pad": 0.8}
    for box in found.boxes:
        left, right = span.at(box.start_s), span.at(box.end_s)
        number = str(box.micro_batch)
        if box.rank < shown and right - left > (_EDGES + _DIGIT * len(number)) * span.width:
            axes.text((left + right) / 2, box.rank + 0.5, number, size=9,
                      ha="center", va="center", bbox=paper, zorder=5)  # fmt: skip


def _draw_rows(axes, found, span, shown, step, trace):
    axes.set_xlabel(f"time [{span.unit}]")
    axes.set_xlim(-0.005 * span.width, 1.005 * span.width)
    axes.set_ylim(shown, 0)
    axes.set_yticks([rank + 0.5 for rank in range(shown)], [f"rank {r}" for r in range(shown)])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    for rank, stretches in found.idle.items():
        if rank < shown:
            share = intervals.seconds(stretches) / trace.of(rank=rank, kind="step")[step].seconds
            words = f"idle {share:.0%}\nkeeps {found.in_flight[rank]}"
            axes.text(1.01, rank + 0.5, words, size=9, va="center", linespacing=1.05,
                      transform=axes.get_yaxis_transform())  # fmt: skip


def _describe_rank(found, rank, span):
    order = " ".join(
        f"{'F' if box.phase == 'forward' else 'B'}{box.micro_batch}"
        for box in found.boxes
        if box.rank == rank
    )
    idle = show_s(intervals.seconds(found.idle[rank]))
    return f"rank {rank}: {order}; idle {idle}, keeps at most {found.in_flight[rank]}"

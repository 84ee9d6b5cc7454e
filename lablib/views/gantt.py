"""The timeline of a trace: ranks as rows, time to the right."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from lablib.errors import LabError
from lablib.record import intervals, metrics
from lablib.record.trace import Event, Trace
from lablib.views import palette

if TYPE_CHECKING:
    from lablib.views.picture import Picture

MOST_ROWS = 32
_MOST_ROOMY = 8
_MOST_LANES = 3
_MOST_STEPS = 20
_MOST_BARS = 1000
# Within a row of height 1, from its top: the steps' brackets, the main thread, the messages.
_BRACKET, _MAIN, _MESSAGES = 0.22, (0.26, 0.32), (0.60, 0.34)


class _Bar(NamedTuple):
    ink: palette.Ink
    label: str
    hatch: str
    start_s: float
    end_s: float
    top: float
    height: float


class _Window(NamedTuple):
    start_s: float
    end_s: float
    scale: float  # units of the axis in a second
    unit: str

    def shows(self, event):
        return event.end_s >= self.start_s and event.start_s <= self.end_s

    def at(self, time_s):
        return self.scale * (min(max(time_s, self.start_s), self.end_s) - self.start_s)


def timeline(trace: Trace, steps: int | range | None = None) -> Picture:
    """What each rank did when: compute and waits above, messages below, steps as brackets.

    steps    the training step, or range of them, to show, from 0; None: the whole run, or
             the last 5 steps where it has more than 20

    Messages of the forward and of the backward pass differ in their hatch; overlapping ones lie
    in lanes of their own. At most 32 ranks are drawn. Raises LabError when the trace has no
    events or not these steps.
    """
    from lablib.views.picture import blank, drawing

    roomy = trace.ranks <= _MOST_ROOMY
    shown = min(trace.ranks, MOST_ROWS)
    steps = _legible(trace) if steps is None else steps
    window = _window(trace, steps)
    title = f"What each rank did when ({', '.join([trace.clock, *_only(trace, steps, shown)])})"
    with drawing():
        picture = blank(9, 1.7 + (0.75 if roomy else 0.4) * shown)
        axes = picture.subplots()
        handles = _draw_bars(axes, _bars(trace, window, shown), window)
        handles |= _draw_moments(axes, trace, window, shown, named=shown if roomy else 1)
        _draw_rows(axes, shown, window, top=0.0 if roomy else -0.3)
        axes.set_title(title, loc="left")
        picture.legend(handles.values(), handles, loc="outside lower center", ncols=3)
    picture.alt = _alt(title, trace, window, shown)
    return picture


def _step_count(trace):
    return max((len(part) for part in trace.of(kind="step").by_rank().values()), default=0)


def _legible(trace):
    """The steps that can be read when nobody chose; None for the whole run."""
    count = _step_count(trace)
    return range(count - 5, count) if count > _MOST_STEPS else None


def _only(trace, steps, shown):
    """What the title must say when not everything is shown."""
    if steps is not None:
        chosen = steps if isinstance(steps, range) else [steps]
        span = f"step {chosen[0]}" if len(chosen) == 1 else f"steps {chosen[0]} to {chosen[-1]}"
        yield f"{span} of {_step_count(trace)}"
    if shown < trace.ranks:
        yield f"ranks 0 to {shown - 1} of {trace.ranks}"


def _window(trace, steps):
    if not len(trace):
        raise LabError(
            "There is nothing to draw: the trace has no events.",
            saw=repr(trace),
            do="draw the trace of a run whose ranks sent messages or marked steps",
        )
    events = trace if steps is None else _of_steps(trace, steps)
    start_s, end_s = min(e.start_s for e in events), max(e.end_s for e in events)
    # A trace of one mark has no length, but an axis must.
    end_s = max(end_s, start_s + 1e-6)
    scale, unit = axis_of_seconds(end_s - start_s)
    return _Window(start_s, end_s, scale, unit)


def axis_of_seconds(longest_s: float) -> tuple[float, str]:
    """Units in a second, and the unit, that suit an axis up to `longest_s`.

    >>> axis_of_seconds(0.5)
    (1000.0, 'ms')
    """
    if longest_s < 2e-3:
        return 1e6, "us"
    return (1e3, "ms") if longest_s < 2 else (1.0, "s")


def _of_steps(trace, steps):
    wanted = range(steps, steps + 1) if isinstance(steps, int) else steps
    parts = trace.of(kind="step").by_rank().values()
    events = [part[number] for part in parts for number in wanted if 0 <= number < len(part)]
    if not events:
        raise LabError(
            "The trace does not have these steps.",
            saw=f"steps={steps}; the ranks have up to {_step_count(trace)} steps",
            do="give a step from 0, or a range such as range(2, 4)",
        )
    return events


def _bars(trace, window, shown):
    # Without waits in its steps, nothing says when a rank that was busy stood still.
    seen = metrics.comm_counted(trace) not in ("messages", "unseen")
    for rank, part in trace.by_rank().items():
        if rank < shown:
            events = [event for event in part if window.shows(event)]
            yield from _main_thread(rank, events, palette.COMPUTE if seen else palette.BUSY)
            yield from _messages(rank, [e for e in events if e.kind == "message"])


def _main_thread(rank, events, busy):
    top, height = rank + _MAIN[0], _MAIN[1]
    for event in events:
        if event.kind == "wait":
            ink = palette.WAITING
        elif event.kind == "compute":
            ink = palette.BACKWARD if event.phase == "backward" else busy
        else:
            continue
        yield _Bar(ink, ink.label, ink.hatch, event.start_s, event.end_s, top, height)


def _messages(rank, messages: list[Event]):
    top, height = rank + _MESSAGES[0], _MESSAGES[1]
    derived = [(event.start_s, event.end_s) for event in messages if event.derived]
    for start_s, end_s in intervals.union(derived):
        ink = palette.DERIVED
        yield _Bar(ink, ink.label, ink.hatch, start_s, end_s, top, height)
    seen = [event for event in messages if not event.derived]
    numbers = intervals.lanes([(event.start_s, event.end_s) for event in seen])
    lanes = min(max(numbers, default=0) + 1, _MOST_LANES)
    for event, number in zip(seen, numbers, strict=True):
        place = top + height * (number % lanes) / lanes
        label = f"message, {event.phase} pass" if event.phase != "other" else "message"
        hatch = palette.PHASE_HATCH[event.phase]
        ink = palette.COMMUNICATION
        yield _Bar(ink, label, hatch, event.start_s, event.end_s, place, height / lanes)


def _draw_bars(axes, bars, window):
    alike = defaultdict(list)
    for bar in bars:
        alike[bar.label, bar.ink, bar.hatch, bar.top, bar.height].append(bar)
    handles = {}
    for (label, ink, hatch, top, height), members in alike.items():
        spans = _spans(members, window)
        hollow = ink is palette.DERIVED
        handles[label] = axes.broken_barh(
            spans,
            (top, height),
            facecolor=palette.PAPER if hollow else ink.color,
            edgecolor=ink.color if hollow else palette.TEXT,
            linestyle=":" if hollow else "-",
            linewidth=1.5 if hollow else 0.4,
            hatch=hatch,
        )
    return handles


def _spans(bars, window):
    """(start, width) of alike bars; past what a screen can show, those that touch are joined."""
    ends = [(window.at(bar.start_s), window.at(bar.end_s)) for bar in bars]
    if len(ends) > _MOST_BARS:
        dot = window.at(window.end_s) / _MOST_BARS
        ends = [(start, end - dot) for start, end in intervals.union((a, b + dot) for a, b in ends)]
    return [(start, end - start) for start, end in ends]


def _draw_moments(axes, trace, window, shown, named):
    """Brackets of the steps, with names on the first `named` ranks; marks, and their handle."""
    brackets, marks = [], []
    for event in trace:
        start, end, y = window.at(event.start_s), window.at(event.end_s), event.rank + _BRACKET
        if event.rank >= shown or not window.shows(event):
            continue
        if event.kind == "mark":
            marks.append((start, y))
        elif event.kind == "step":
            brackets.append([(start, y + 0.05), (start, y), (end, y), (end, y + 0.05)])
            if event.rank < named and end - start > 0.07 * window.at(window.end_s):
                axes.text((start + end) / 2, y - 0.01, event.name, size=9, ha="center", va="bottom")
    _draw_brackets(axes, brackets)
    if not marks:
        return {}
    return {"mark": axes.plot(*zip(*marks, strict=True), "v", color=palette.TEXT, ms=6)[0]}


def _draw_brackets(axes, brackets):
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(brackets, colors=palette.TEXT, linewidths=1), autolim=False)


def _draw_rows(axes, shown, window, top):
    width = window.at(window.end_s)
    axes.set_xlabel(f"time [{window.unit}]")
    axes.set_xlim(-0.005 * width, 1.005 * width)
    axes.set_ylim(shown, top)
    names = [f"rank {rank}" for rank in range(shown)]
    axes.set_yticks([rank + 0.5 for rank in range(shown)], names)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.hlines(range(1, shown), 0, width, palette.GRID, linewidth=0.8)


def _alt(title, trace, window, shown):
    within = [(window.start_s, window.end_s)]
    lines = []
    for rank, part in list(trace.by_rank().items())[:shown]:
        shares = {
            kind: intervals.seconds(
                intervals.common([(e.start_s, e.end_s) for e in part.of(kind=kind)], within)
            )
            / (window.end_s - window.start_s)
            for kind in ("compute", "wait", "message")
        }
        lines.append(
            f"rank {rank}: busy {shares['compute']:.0%}, waiting {shares['wait']:.0%}, "
            f"messages under way {shares['message']:.0%} of the time"
        )
    length = f"{window.at(window.end_s):.3g} {window.unit}"
    return f"{title}: {length}. " + "; ".join(lines) + "."

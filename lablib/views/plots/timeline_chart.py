"""Plot the timeline of a trace: ranks are rows, and time goes to the right."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from lablib.record import critical_path as chain
from lablib.record import intervals, metrics
from lablib.record.trace import Trace
from lablib.views import palette
from lablib.views.plots import timeline_bars
from lablib.views.window import Window, only, step_count, window

if TYPE_CHECKING:
    from lablib.views.picture import Picture

MOST_ROWS = 32
_MOST_ROOMY = 8
_MOST_STEPS = 20
_MOST_BARS = 1000
_MOST_BENDS = 150
_BRACKET = 0.22  # height of a bracket in a row of height 1, from its top


def timeline(
    trace: Trace, steps: int | range | None = None, *, critical_path: bool = True
) -> Picture:
    """Plot what each rank did when: compute and waits above, messages below, steps as brackets.

    steps           the training step to show, from 0, or a range of steps; None: the whole run, or
                    the last 5 steps if there are more than 20
    critical_path   draw the chain of compute and messages that decided how long the run took
                    (`lablib.record.critical_path`), as a line from rank to rank. It is not drawn if
                    it would have more than 150 bends

    A message is hidden while its rank computes, and exposed while its rank stands still. Messages
    that are under way at the same time are drawn below one another. At most 32 ranks are drawn.
    Raises LabError if the trace has no events or does not have these steps.
    """
    from lablib.views.picture import blank, drawing

    roomy = trace.ranks <= _MOST_ROOMY
    shown = min(trace.ranks, MOST_ROWS)
    steps = _legible(trace) if steps is None else steps
    span = window(trace, steps)
    title = f"What each rank did when ({', '.join([trace.clock, *_only(trace, steps, shown)])})"
    path = chain.critical_path(trace, span.start_s, span.end_s) if critical_path else ()
    with drawing():
        picture = blank(9, 1.9 + (0.75 if roomy else 0.4) * shown)
        axes = picture.subplots()
        seen = {
            rank: [event for event in part if span.shows(event)]
            for rank, part in trace.by_rank().items()
            if rank < shown
        }
        handles = _draw_bars(axes, _bars(trace, seen), span)
        handles |= _draw_moments(axes, seen, span, named=shown if roomy else 1)
        handles |= _draw_path(axes, path, span, shown)
        _draw_rows(axes, shown, span, top=0.0 if roomy else -0.3)
        axes.set_title(title, loc="left")
        lack = _why_no_path(path) if critical_path else ""
        note = {"title": lack, "title_fontsize": 9} if lack else {}
        picture.legend(handles.values(), handles, loc="outside lower center", ncols=3, **note)
    description = lack or _describe_path(path) if critical_path else ""
    picture.alt = f"{_alt(title, seen, span)} {description}".rstrip()
    return picture


def _legible(trace):
    """Return the steps to show if none were chosen; None for the whole run."""
    count = step_count(trace)
    return range(count - 5, count) if count > _MOST_STEPS else None


def _only(trace, steps, shown):
    """Yield the notes for the title if not everything is shown."""
    yield from only(trace, steps)
    if shown < trace.ranks:
        yield f"ranks 0 to {shown - 1} of {trace.ranks}"


def _bars(trace, seen):
    waits_seen = metrics.waits_seen(trace)
    inks = timeline_bars.compute_inks(trace, waits_seen)
    for rank, events in seen.items():
        yield from timeline_bars.main_thread(rank, events, inks)
        yield from timeline_bars.messages(rank, events, waits_seen)


_ORDER = (*palette.PASSES.values(), palette.COMPUTE, palette.BUSY, palette.WAITING, palette.EXPOSED,
          palette.HIDDEN, palette.COMMUNICATION, palette.DERIVED)  # fmt: skip


def _draw_bars(axes, drawn, span: Window):
    alike = defaultdict(list)
    for bar in drawn:
        alike[bar.ink, bar.top, bar.height].append(bar)
    handles = {}
    for (ink, top, height), members in alike.items():
        hollow = ink is palette.DERIVED
        handles[ink.label] = axes.add_artist(
            _patch(
                _spans(members, span),
                top,
                height,
                facecolor=palette.PAPER if hollow else ink.color,
                edgecolor=ink.color if hollow else palette.TEXT,
                linestyle=":" if hollow else "-",
                linewidth=1.5 if hollow else 0.4,
                hatch=ink.hatch,
            )
        )
    return {ink.label: handles[ink.label] for ink in _ORDER if ink.label in handles}


def _patch(spans, top, height, **look):
    """Return all bars of one look as one shape, because every hatched shape takes time to draw."""
    import numpy as np
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    start, width = np.array(spans).T
    left_right = np.stack([start, start, start + width, start + width], axis=1)
    heights = np.broadcast_to([top, top + height, top + height, top], left_right.shape)
    corners = np.stack([left_right, heights], axis=2)
    return PathPatch(Path.make_compound_path_from_polys(corners), **look)


def _spans(members, span):
    """Return (start, width) of bars of one look; join touching ones if there are too many."""
    ends = [(span.at(bar.start_s), span.at(bar.end_s)) for bar in members]
    if len(ends) > _MOST_BARS:
        dot = span.width / _MOST_BARS
        ends = [(start, end - dot) for start, end in intervals.union((a, b + dot) for a, b in ends)]
    return [(start, end - start) for start, end in ends]


def _draw_moments(axes, seen, span, named):
    """Draw steps as brackets, named on the first `named` ranks, and marks; return their handle."""
    brackets, marks = [], []
    for event in (event for events in seen.values() for event in events):
        start = span.at(event.start_s)
        end = span.at(event.end_s)
        y = event.rank + _BRACKET
        if event.kind == "mark":
            marks.append((start, y))
        elif event.kind == "step" and end > start:
            brackets.append([(start, y + 0.05), (start, y), (end, y), (end, y + 0.05)])
            if event.rank < named and end - start > 0.07 * span.width:
                _name(axes, (start + end) / 2, y - 0.02, event.name)
    _draw_brackets(axes, brackets)
    if not marks:
        return {}
    return {"mark": axes.plot(*zip(*marks, strict=True), "v", color=palette.TEXT, ms=6)[0]}


def _name(axes, x, y, words):
    # The critical path may be behind it.
    paper = {"facecolor": palette.PAPER, "edgecolor": "none", "pad": 0}
    axes.text(x, y, words, size=9, ha="center", va="bottom", bbox=paper, zorder=6)


def _draw_brackets(axes, brackets):
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(brackets, colors=palette.TEXT, linewidths=1), autolim=False)


def _draw_path(axes, path, span, shown):
    """Draw the critical path as one line, below the bars that belong to it."""
    from matplotlib.patheffects import withStroke

    if _why_no_path(path):
        return {}
    points = [
        (span.at(moment_s), leg.rank + level)
        for leg, level in _levels(path, span, shown)
        for moment_s in (leg.start_s, leg.end_s)
    ]
    halo = [withStroke(linewidth=3.6, foreground=palette.PAPER)]
    (line,) = axes.plot(
        *zip(*points, strict=True), color=palette.TEXT, linewidth=1.8, path_effects=halo, zorder=5
    )
    return {"critical path": line}


def _why_no_path(path):
    """Return why the figure shows no critical path; "" if it shows one."""
    if all(leg.kind == chain.UNKNOWN for leg in path):
        return "The critical path is not known: this trace does not show when a rank waited."
    places = [(leg.rank, leg.kind == "message") for leg in path]
    bends = sum(here != before for here, before in zip(places[1:], places))
    if bends > _MOST_BENDS:
        return f"The critical path has {bends} bends, too many to draw: choose fewer steps."
    return ""


def _levels(path, span, shown):
    """Yield each part of the path with its level below the row; short messages make no spike."""
    for leg in path:
        if leg.rank >= shown:
            yield leg, float("nan")  # NaN interrupts the line
        elif leg.kind != "message":
            yield leg, timeline_bars.BELOW_MAIN
        elif leg.seconds > 0.003 * (span.end_s - span.start_s):
            yield leg, timeline_bars.BELOW_MESSAGES


def _draw_rows(axes, shown, span, top):
    axes.set_xlabel(f"time [{span.unit}]")
    axes.set_xlim(-0.005 * span.width, 1.005 * span.width)
    axes.set_ylim(shown, top)
    names = [f"rank {rank}" for rank in range(shown)]
    axes.set_yticks([rank + 0.5 for rank in range(shown)], names)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.hlines(range(1, shown), 0, span.width, palette.GRID, linewidth=0.8)


def _describe_path(path):
    shares = defaultdict(float)
    for leg in path:
        shares[leg.kind] += leg.seconds
    whole_s = sum(shares.values())
    description = ", ".join(f"{kind} {seconds / whole_s:.0%}" for kind, seconds in shares.items())
    ranks = ", ".join(map(str, sorted({leg.rank for leg in path})))
    return f"Critical path: {description}, through rank {ranks}."


def _alt(title, seen, span):
    within = [(span.start_s, span.end_s)]
    lines = []
    for rank, events in seen.items():
        shares = {
            kind: intervals.seconds(
                intervals.common([(e.start_s, e.end_s) for e in events if e.kind == kind], within)
            )
            / (span.end_s - span.start_s)
            for kind in ("compute", "wait", "message")
        }
        lines.append(
            f"rank {rank}: busy {shares['compute']:.0%}, waiting {shares['wait']:.0%}, "
            f"messages under way {shares['message']:.0%} of the time"
        )
    length = f"{span.width:.3g} {span.unit}"
    return f"{title}: {length}. " + "; ".join(lines) + "."

"""Plot where the time of a step goes: compute, messages for which a rank waits, idle time."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lablib.errors import LabError
from lablib.record import metrics
from lablib.record.trace import Trace
from lablib.units import show_s
from lablib.views import palette
from lablib.views.plots.strategy_panels import bar

if TYPE_CHECKING:
    from lablib.views.picture import Picture

_WRITTEN_FROM = 0.06  # a share from this size on has space for its number
_INKS = palette.PASSES | {"moving": palette.EXPOSED, "idle": palette.BUBBLE}


def time_split(traces: Mapping[str, Trace]) -> Picture:
    """Plot one bar for each run: the shares of its step (mean over ranks, without the first step).

    traces   label -> trace of a run that marks steps

    The parts are those of `record.metrics.step_split`. The text beside each bar says how long the
    step takes (the median of the slowest rank), or "not recorded" if the trace does not have it.
    Raises LabError if there is no trace.
    """
    from lablib.views.picture import blank, drawing

    if not traces:
        raise LabError("There is no run to draw.", saw="no trace", do='pass {"ddp": run.trace}')
    rows = [
        (label, trace, metrics.step_split(trace), step_s(trace)) for label, trace in traces.items()
    ]
    clocks = sorted({trace.clock for trace in traces.values()})
    title = f"Where a step's time went ({' and '.join(clocks)})"
    with drawing():
        picture = blank(9, 1.75 + 0.42 * len(rows))
        axes = picture.subplots()
        handles = {}
        for place, row in enumerate(rows):
            handles |= _draw_row(axes, place, *row)
        _set_axes(axes, rows, several=len(clocks) > 1)
        axes.set_title(title, loc="left")
        if handles:
            shown = {ink.label: handles[ink.label] for ink in _ORDER if ink.label in handles}
            picture.legend(shown.values(), shown, loc="outside lower center", ncols=3)
    picture.alt = f"{title}. {'; '.join(_describe_split(*row) for row in rows)}."
    return picture


def step_s(trace: Trace) -> float:
    """Return the slowest rank's median step after the first; NaN if no rank has two steps."""
    medians = [
        statistics.median(lengths[1:])
        for lengths in (metrics.step_s(trace, rank) for rank in range(trace.ranks))
        if len(lengths) > 1
    ]
    return max(medians, default=metrics.NAN)


def inks(trace: Trace) -> dict[str, palette.Ink]:
    """Return the ink of each part; compute without passes, and graphs, have their own."""
    if metrics.comm_counted(trace) == "messages":
        return {"other": palette.BUSY, "moving": palette.COMMUNICATION}
    if all(event.phase == "other" for event in trace if event.kind == "compute"):
        return _INKS | {"other": palette.COMPUTE}
    return _INKS


def _draw_row(axes, place, label, trace, split, seconds):
    if not split:
        axes.text(1, place, "not recorded", size=9, va="center", color=palette.FAINT)
    handles, left = {}, 0.0
    for part, ink in inks(trace).items() if split else ():
        share = split.get(part, 0.0)
        if share > 0:
            handles[ink.label] = bar(axes, trace.clock, place, 100 * left, 100 * share, ink)
        if share > _WRITTEN_FROM:
            paper = {"facecolor": palette.PAPER, "edgecolor": "none", "pad": 1.2}
            sign = "≤ " if ink is palette.COMMUNICATION else ""
            axes.text(100 * (left + share / 2), place, f"{sign}{share:.0%}", size=9,
                      ha="center", va="center", bbox=paper)  # fmt: skip
        left += share
    axes.text(101.5, place, show_s(seconds), size=9, va="center", clip_on=False)
    return handles


_ORDER = [*palette.PASSES.values(), palette.COMPUTE, palette.BUSY, palette.EXPOSED,
          palette.COMMUNICATION, palette.BUBBLE]  # fmt: skip


def _set_axes(axes, rows, several):
    from lablib.views.picture import plain

    names = [plain(f"{label}, {trace.clock}" if several else label) for label, trace, *_ in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(0, 100.3)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("% of a step (at the right: seconds of the slowest rank's step)")


def _describe_split(label, trace, split, seconds):
    if not split:
        return f"{label}: not recorded"
    parts = ", ".join(
        f"{inks(trace)[part].label} {share:.0%}" for part, share in split.items() if share > 0
    )
    return f"{label}: a step of {show_s(seconds)} ({trace.clock}), {parts}"

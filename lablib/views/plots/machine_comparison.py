"""One program on several machines: how long a step takes on each, and how much of it is waiting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lablib.units import show_s
from lablib.views import palette
from lablib.views.plots.strategy_panels import bar

if TYPE_CHECKING:
    import pandas

    from lablib.views.picture import Picture


def machines(table: pandas.DataFrame) -> Picture:
    """Plot one row for each machine: the seconds of a step (log axis), and what they are spent on.

    table   columns hardware, ranks, clock, step_s, comm_share (0 to 1), as `lab.what_if` gives.
            NaN is shown as "no steps"
    """
    from lablib.views.picture import blank, drawing

    rows = table.to_dict("records")
    title = f"One program on {len(rows)} machines ({' and '.join(sorted(set(table.clock)))})"
    with drawing():
        picture = blank(9, 1.7 + 0.4 * len(rows))
        seconds, shares = picture.subplots(1, 2, sharey=True)
        _draw_seconds(seconds, rows)
        handles = _draw_shares(shares, rows)
        seconds.set_yticks(range(len(rows)), [_name(row) for row in rows])
        seconds.set_ylim(len(rows) - 0.4, -0.6)
        picture.suptitle(title, x=0.01, ha="left", weight="bold")
        picture.legend(handles.values(), handles, loc="outside lower right", ncols=2)
    picture.alt = f"{title}. {'; '.join(map(_describe_row, rows))}."
    return picture


def _name(row):
    from lablib.views.picture import plain

    return plain(f"{row['hardware']}, {row['clock']}")


def _draw_seconds(axes, rows):
    known = [row["step_s"] for row in rows if row["step_s"] > 0] or [1.0]
    least, most = min(known), max(known)
    # A bar on a logarithmic axis has no natural start, so begin well below the shortest one.
    start, end = least / 3, most * 8
    for place, row in enumerate(rows):
        if not row["step_s"] > 0:
            axes.text(start, place, " no steps", size=9, va="center", color=palette.FAINT)
            continue
        bar(axes, row["clock"], place, start, row["step_s"] - start, palette.STEP)
        axes.text(row["step_s"], place, f" {show_s(row['step_s'])}", size=9, va="center")
    axes.set_xscale("log")
    axes.set_xlim(start, end)
    axes.xaxis.set_major_formatter(lambda seconds, _: show_s(seconds))
    axes.minorticks_off()
    axes.tick_params(axis="y", length=0)
    axes.set(title="Time of a step", xlabel="slowest rank, logarithmic")


def _draw_shares(axes, rows):
    handles = {}
    for place, row in enumerate(rows):
        share = row["comm_share"]
        if math.isnan(share):
            continue
        for left, width, ink in (
            (0, 1 - share, palette.COMPUTE),
            (1 - share, share, palette.WAITING),
        ):
            handles[ink.label] = bar(axes, row["clock"], place, 100 * left, 100 * width, ink)
        axes.text(102, place, f"{share:.0%}", size=9, va="center", clip_on=False)
    axes.set_xlim(0, 100.5)
    axes.tick_params(axis="y", length=0)
    axes.set(title="Where it went", xlabel="% of a step (at the right: communication)")
    return handles


def _describe_row(row):
    share = row["comm_share"]
    waiting = "" if math.isnan(share) else f", {share:.0%} of it communication"
    step = show_s(row["step_s"]) if row["step_s"] > 0 else "no"
    return f"{row['hardware']}: {step} a step{waiting} ({row['clock']})"

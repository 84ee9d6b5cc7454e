"""Plot strategies side by side: speed-up, loss, the parts of a step's time, memory."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lablib.record.repeated import NO_DIFFERENCE
from lablib.units import show_bytes
from lablib.views import palette, speedup_words
from lablib.views.plots.loss_curves import draw_losses

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from lablib.views.picture import Picture


_COLUMNS = 3  # columns of a legend
_ON_PAPER = {"facecolor": palette.PAPER, "edgecolor": "none", "pad": 1.5}


def comparison(
    table: pandas.DataFrame,
    losses: Mapping[str, Sequence[float]] | None = None,
    caution: str = "",
) -> Picture:
    """Plot four panels: speed-up, loss, time split and memory, the last two with a row per run.

    The speed-up is drawn as curves over the number of ranks, or as rows if every strategy has only
    one number of ranks.

    table    columns strategy, framework, ranks, clock, speedup, comm_share (0 to 1),
             peak_bytes_per_rank, final_loss; and, if known, comm_counted (see
             `record.metrics.comm_counted`), memory_counted (see `lab.compare`), and speedup_low,
             speedup_high and finding (`record.repeated`): the range is drawn as a line
    losses   label -> loss of each step; None: only the final losses are drawn
    caution  why its times are doubtful; written below the panels

    The colour shows the framework, the marker shows the strategy, and a dashed line or edge shows
    modelled times. The loss is always measured. Memory is counted if times are modelled. NaN is
    shown as "not recorded".
    """
    from lablib.views.picture import blank, drawing

    rows = table.to_dict("records")
    clocks = sorted({row["clock"] for row in rows})
    title = f"Strategies compared ({_clocks(clocks)})"
    lines = _lines(rows)
    curves = any(len(members) > 1 for members in lines.values())
    legend = 0.2 * math.ceil(len(lines) / _COLUMNS) if curves else 0
    width = 9 if curves else 12.5
    notes = _notes(rows, caution, width)
    heights = [3.4 + legend, 1.5 + 0.27 * max(len(rows), 3)]
    heights += [0.1 + 0.17 * len(notes)] if notes else []
    with drawing():
        picture = blank(width, sum(heights))
        # Draw them separately, so that long names below do not push the upper panels to the right.
        upper, lower, *below = picture.subfigures(len(heights), 1, height_ratios=heights)
        for part in below:
            part.text(0.01, 1, "\n".join(notes), size=9, va="top")
        upper.suptitle(title, x=0.01, ha="left", weight="bold")
        if curves:
            speedup, loss = upper.subplots(1, 2)
            in_rows = time, memory = lower.subplots(1, 2)
            _legend(upper, _draw_speedup(speedup, rows))
        else:
            loss = upper.subplots()
            in_rows = speedup, time, memory = lower.subplots(1, 3)
            _draw_speedup_rows(speedup, rows)
        if losses:
            draw_losses(loss, losses)
        else:
            _draw_final_losses(loss, rows)
        _legend(lower, _draw_time(time, rows))
        _draw_memory(memory, rows)
        _in_rows(in_rows, [_name(row, len(clocks) > 1) for row in rows])
    picture.alt = " ".join([_alt(title, rows), *notes])
    return picture


def _notes(rows, caution, width_in):
    """Return the lines below the panels: the meaning of a range, and why times are doubtful."""
    from lablib.views.picture import plain

    unknown = any(row.get("finding") == NO_DIFFERENCE for row in rows)
    notes = [speedup_words.RULE] if unknown else []
    notes += [f"Caution: {caution}."] if caution else []
    return [plain(line) for note in notes for line in textwrap.wrap(note, int(14 * width_in))]


def _clocks(clocks):
    """Say which values were measured: even for modelled hardware, losses and tensors are real."""
    if clocks == ["measured"]:
        return "measured"
    return f"times {' and '.join(clocks)}, loss measured, memory counted"


def _lines(rows):
    """Return {(strategy, framework, clock): its rows by number of ranks}."""
    lines = {}
    for row in sorted(rows, key=lambda row: row["ranks"]):
        lines.setdefault((row["strategy"], row["framework"], row["clock"]), []).append(row)
    return lines


def _markers(rows):
    pairs = dict.fromkeys((row["strategy"], row["framework"]) for row in rows)
    return dict(zip(pairs, itertools.cycle(palette.MARKERS), strict=False))


def _draw_speedup(axes: Axes, rows):
    markers, handles = _markers(rows), {}
    for (strategy, framework, clock), members in sorted(_lines(rows).items()):
        label = f"{strategy}, {framework}" + ("" if clock == "measured" else f", {clock}")
        handles[label] = axes.plot(
            [row["ranks"] for row in members],
            [row["speedup"] for row in members],
            color=palette.framework(framework).color,
            marker=markers[strategy, framework],
            linestyle=palette.CLOCK_LINE[clock],
            markeredgecolor=palette.TEXT,
            markeredgewidth=0.5,
        )[0]
        for row in filter(speedup_words.has_range, members):
            color = palette.framework(framework).color
            axes.plot([row["ranks"]] * 2, _range(row), "_-", color=color, linewidth=1, zorder=1)
    ranks = sorted({row["ranks"] for row in rows})
    handles["ideal"] = axes.plot(ranks, ranks, ":", color=palette.IDEAL.color, zorder=1)[0]
    if max(ranks, default=1) > 8:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xticks(ranks, [str(count) for count in ranks])
    axes.minorticks_off()
    axes.set(title="Speed-up", xlabel="ranks", ylabel="times one process")
    axes.grid()
    return handles


def _range(row):
    return row["speedup_low"], row["speedup_high"]


def _draw_speedup_rows(axes: Axes, rows):
    ends = {id(row): max(row["speedup"], row.get("speedup_high", 0)) for row in rows}
    most = max((end for end in ends.values() if end > 0), default=1)
    for place, row in enumerate(rows):
        if math.isnan(row["speedup"]):
            _not_recorded(axes, place)
            continue
        bar(axes, row["clock"], place, 0, row["speedup"], palette.framework(row["framework"]))
        if speedup_words.has_range(row):
            axes.plot(_range(row), [place] * 2, "|-", color=palette.TEXT, linewidth=1)
        end = row["speedup"] if math.isnan(ends[id(row)]) else ends[id(row)]
        words = speedup_words.speedup(row)
        axes.text(end + 0.03 * most, place, words, size=9, va="center", bbox=_ON_PAPER)
    axes.axvline(1, linestyle=":", color=palette.IDEAL.color)
    room = 1.7 if any(map(speedup_words.has_range, rows)) else 1.25
    axes.set_xlim(0, room * max(most, 1))
    ranks = max(row["ranks"] for row in rows)
    axes.set(title="Speed-up", xlabel=f"times one process; ideal is {ranks}")


def _in_rows(all_axes, names):
    """Draw panels side by side with the same rows, whose names are at the left."""
    for number, axes in enumerate(all_axes):
        axes.set_yticks(range(len(names)), [] if number else names)
        axes.set_ylim(max(len(names), 3) - 0.5, -0.6)
        axes.tick_params(axis="y", length=0)


def _not_recorded(axes, place):
    edge, apart = (0, place), (4, 0)
    axes.annotate(
        "not recorded", edge, apart, textcoords="offset points",
        size=9, va="center", color=palette.FAINT,
    )  # fmt: skip


def _draw_final_losses(axes: Axes, rows):
    markers = _markers(rows)
    for row in rows:
        axes.plot(
            row["ranks"],
            row["final_loss"],
            markers[row["strategy"], row["framework"]],
            color=palette.framework(row["framework"]).color,
            markeredgecolor=palette.TEXT,
            markeredgewidth=0.5,
        )
    axes.set_xticks(sorted({row["ranks"] for row in rows}))
    axes.set(title="Final loss", xlabel="ranks", ylabel="loss")
    # Start at 0: on a narrower axis, rounding errors of equal losses would look like differences.
    axes.set_ylim(bottom=min([0.0, *(row["final_loss"] for row in rows)]))
    axes.grid()


def _draw_time(axes: Axes, rows):
    handles = {}
    for place, row in enumerate(rows):
        share = row["comm_share"]
        counted = row.get("comm_counted", "")
        if math.isnan(share):
            _not_recorded(axes, place)
            continue
        ink, words = _communication(counted)
        parts = ((0, 1 - share, palette.COMPUTE, "compute"), (1 - share, share, ink, words))
        for left, width, part, label in parts if share else parts[:1]:
            drawn = bar(axes, row["clock"], place, 100 * left, 100 * width, part)
            handles.setdefault(label, drawn)
        sign = "≤ " if counted == "messages" else ""
        axes.text(102, place, f"{sign}{share:.0%}", size=9, va="center", clip_on=False)
    axes.set_xlim(0, 100.5)
    axes.set(title="Where a step's time went", xlabel="% of a step (at the right: communication)")
    return handles


def _communication(counted):
    if counted == "waits":
        return palette.WAITING, palette.WAITING.label
    if counted == "messages":
        return palette.COMMUNICATION, "message under way (at most; it may overlap compute)"
    return palette.COMMUNICATION, "communication"


_DERIVED = {"graph": ", by its graph"}


def _draw_memory(axes: Axes, rows):
    known = [row["peak_bytes_per_rank"] for row in rows if row["peak_bytes_per_rank"] > 0]
    scale = max(known, default=1.0)
    for place, row in enumerate(rows):
        size = row["peak_bytes_per_rank"]
        if math.isnan(size):
            _not_recorded(axes, place)
            continue
        ink = palette.framework(row["framework"])
        bar(axes, "measured", place, 0, 100 * size / scale, ink)
        inside = size > 0.7 * scale
        axes.text(
            100 * size / scale + (-2 if inside else 2),
            place,
            show_bytes(size) + _DERIVED.get(row.get("memory_counted"), ""),
            size=9,
            va="center",
            ha="right" if inside else "left",
            bbox=_ON_PAPER,
        )
    axes.set_xlim(0, 100.5)
    ticks = [0, _round(scale) / 2, _round(scale)]
    axes.set_xticks([100 * tick / scale for tick in ticks], ["0", *map(show_bytes, ticks[1:])])
    axes.set(title="Peak memory of a rank", xlabel="largest of the ranks")


def _round(size):
    """Return the largest of 1, 2 and 5 times a power of ten that is at most `size`."""
    power = 10 ** math.floor(math.log10(size))
    return power * max(digit for digit in (1, 2, 5) if digit * power <= size)


def bar(axes: Axes, clock: str, place: float, left: float, width: float, ink: palette.Ink):
    """Draw a horizontal bar in a row; its edge shows the clock."""
    return axes.barh(
        place,
        width,
        left=left,
        height=0.72,
        color=ink.color,
        edgecolor=palette.TEXT,
        hatch=ink.hatch,
        linewidth=0.6,
        linestyle=palette.CLOCK_LINE[clock],
    )


def _name(row, several_clocks):
    from lablib.views.picture import plain

    clock = f", {row['clock']}" if several_clocks else ""
    return plain(f"{row['strategy']}, {row['framework']} × {row['ranks']}{clock}")


def _legend(half, handles):
    from lablib.views.picture import plain

    names = [plain(name) for name in handles]
    half.legend(handles.values(), names, loc="outside lower center", ncols=_COLUMNS)


def _alt(title, rows):
    def describe_row(row):
        ranks = f"{row['ranks']} rank{'' if row['ranks'] == 1 else 's'}"
        parts = [f"{row['strategy']} in {row['framework']} on {ranks}"]
        if speedup_words.has_range(row):
            parts.append(f"speed-up {speedup_words.speedup(row)}")
        elif not math.isnan(row["speedup"]):
            parts.append(f"speed-up {row['speedup']:.2f}")
        facts = (
            ("communication {:.0%} of a step", "comm_share"),
            ("loss {:.4g}", "final_loss"),
        )
        parts += [form.format(row[key]) for form, key in facts if not math.isnan(row[key])]
        if not math.isnan(row["peak_bytes_per_rank"]):
            parts.append(f"{show_bytes(row['peak_bytes_per_rank'])} a rank")
        return f"{', '.join(parts)} ({row['clock']})"

    return (
        f"{title}: speed-up, loss, time split and memory. "
        + "; ".join(map(describe_row, rows))
        + "."
    )

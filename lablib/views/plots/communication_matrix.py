"""The communication matrix of a trace: rows send, columns receive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lablib.errors import LabError
from lablib.record.trace import Trace
from lablib.units import show_bytes
from lablib.views import palette
from lablib.views.traffic import RULE, has_collectives, traffic
from lablib.views.window import only, window

if TYPE_CHECKING:
    from lablib.views.picture import Picture

_MOST_WRITTEN = 8
_MOST_TICKS = 16
_MOST_TOLD = 12
_WIDE = 30


def matrix(trace: Trace, steps: int | range | None = None) -> Picture:
    """Draw how many wire bytes each rank sent to each other; up to 8 ranks, cells show numbers.

    steps    the training step to count, from 0, or a range of steps; None: the whole run

    `lablib.views.traffic` says how bytes are counted: exactly between two ranks, and spread evenly
    for a collective, as the figure then says. Shades are logarithmic if the largest number is over
    30 times the smallest. Raises LabError if nothing was sent or these steps do not exist.
    """
    from lablib.views.picture import blank, drawing

    span = window(trace, steps) if len(trace) else None
    sent = traffic(trace, None if steps is None else span)
    if not sent:
        raise LabError(
            "There is no traffic to draw.",
            saw=repr(trace),
            do="choose a run and steps in which ranks send something to one another",
        )
    title = f"Who sends how much to whom ({', '.join([trace.clock, *only(trace, steps)])})"
    rule = f"Wire bytes; {RULE}." if has_collectives(trace) else "Wire bytes."
    with drawing():
        side = 3.0 if trace.ranks <= 4 else 4.8
        picture = blank(max(6.8, side + 2), side + 1)
        axes = picture.subplots()
        _draw_cells(picture, axes, sent, trace.ranks)
        picture.suptitle(title, x=0.01, ha="left", size=11, weight="bold")
        picture.supxlabel(rule, size=9, color=palette.FAINT)
    picture.alt = f"{title}. {_alt_text(sent)} {rule}"
    return picture


def _draw_cells(picture, axes, sent, ranks):
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list(
        "traffic", ["#fff3d6", palette.COMMUNICATION.color, "#8f5000"]
    )
    norm = _norm(sent.values())
    sizes = [
        [sent.get((source, to), float("nan")) for to in range(ranks)] for source in range(ranks)
    ]
    axes.imshow(sizes, cmap=shades, norm=norm, aspect="equal")
    ticks = range(0, ranks, -(-ranks // _MOST_TICKS))
    axes.set(xticks=ticks, yticks=ticks, xlabel="to rank", ylabel="from rank")
    if ranks <= _MOST_TICKS:
        between = [rank - 0.5 for rank in range(1, ranks)]
        axes.set_xticks(between, minor=True)
        axes.set_yticks(between, minor=True)
        axes.grid(which="minor", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    bar = picture.colorbar(ScalarMappable(norm, shades), ax=axes, shrink=0.9)
    bar.set_label("bytes sent" + (", logarithmic" if _spread(sent.values()) > _WIDE else ""))
    bar.ax.yaxis.set_major_formatter(lambda size, _: show_bytes(size))
    bar.ax.yaxis.set_minor_formatter(lambda size, _: "")
    if ranks <= _MOST_WRITTEN:
        for (source, to), size in sent.items():
            dark = norm(size) > 0.75
            axes.text(to, source, show_bytes(size), size=9, ha="center", va="center",
                      color=palette.PAPER if dark else palette.TEXT)  # fmt: skip


def _norm(sizes):
    from matplotlib.colors import LogNorm, Normalize

    if _spread(sizes) > _WIDE:
        return LogNorm(min(sizes), max(sizes))
    return Normalize(0, max(sizes))


def _spread(sizes):
    return max(sizes) / min(sizes)


def _alt_text(sent):
    largest = sorted(sent.items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST_TOLD]
    parts = (f"rank {source} to {to}: {show_bytes(size)}" for (source, to), size in largest)
    more = len(sent) - len(largest)
    rest = f"; and {more} more pairs" if more else ""
    return f"{show_bytes(sum(sent.values()))} in all. {'; '.join(parts)}{rest}."

"""How often two judges agree, by study and by what counts as agreement, with 95 % intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lablib.errors import LabError
from lablib.views import palette

if TYPE_CHECKING:
    import pandas

    from lablib.views.picture import Picture

_TITLE = "Agreement of Watson for Oncology with physicians, and 95 % intervals (published)"
# The hues of Okabe and Ito (see `palette`), in the order of appearance.
_COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")


def concordance(table: pandas.DataFrame) -> Picture:
    """Plot the share of agreement of each study and definition with its 95 % interval.

    table   columns study, year, counted (what counts as agreement), among (which patients),
            patients and agreed, as `lab.datasets.table("watson-concordance")` gives

    The interval is Wilson's: it says how exact a share of so few patients is, and nothing about
    how the patients were chosen. Rows keep their order, and a line separates two studies.
    Raises LabError if there is no row.
    """
    from lablib.views.picture import blank, drawing, plain

    if not len(table):
        raise LabError("There is no study to draw.", saw="an empty table", do="pass some rows")
    rows = list(table.itertuples(index=False))
    counted = list(dict.fromkeys(row.counted for row in rows))
    with drawing():
        picture = blank(10.2, 1.5 + 0.27 * len(rows))
        axes = picture.subplots()
        for place, row in enumerate(rows):
            _draw_row(axes, place, row, counted.index(row.counted))
            if place and row.study != rows[place - 1].study:
                axes.axhline(place - 0.5, color=palette.GRID, linewidth=0.8)
        axes.set_yticks(range(len(rows)), map(plain, _names(rows)))
        axes.set(xlim=(0, 100), ylim=(len(rows) - 0.4, -0.6), xlabel="patients with agreement [%]")
        axes.grid(axis="x")
        picture.suptitle(_TITLE, x=0.01, ha="left", size=11, weight="bold")
        for number, words in enumerate(counted):
            axes.plot([], [], _marker(number), color=_color(number), label=words)
        handles = axes.get_legend_handles_labels()
        picture.legend(*handles, loc="outside lower right", ncols=2)
    picture.alt = f"{_TITLE}. {'; '.join(map(_described, rows))}."
    return picture


def _draw_row(axes, place, row, number):
    share, low, high = _percentages(row)
    axes.errorbar(
        share,
        place,
        xerr=[[share - low], [high - share]],
        fmt=_marker(number),
        color=_color(number),
        capsize=3,
    )


def _percentages(row):
    """Return the share and the ends of its interval, in per cent."""
    from scipy.stats import binomtest

    interval = binomtest(row.agreed, row.patients).proportion_ci(method="wilson")
    return 100 * row.agreed / row.patients, 100 * interval.low, 100 * interval.high


def _names(rows):
    """Return the name of each row; the study is named in its first row only."""
    studies = [None, *(row.study for row in rows)]
    return [
        _named(row) if row.study != before else f"{row.among} ({row.patients:,})"
        for row, before in zip(rows, studies, strict=False)
    ]


def _named(row):
    return f"{row.study} {row.year}: {row.among} ({row.patients:,})"


def _described(row):
    share, low, high = _percentages(row)
    return f"{_named(row)}, {row.counted}: {share:.1f} % ({low:.1f} to {high:.1f})"


def _marker(number):
    return palette.MARKERS[number % len(palette.MARKERS)]


def _color(number):
    return _COLORS[number % len(_COLORS)]

"""Dated events in the order of time, in one column for each kind: promised, published, happened."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from lablib.errors import LabError
from lablib.views import palette

if TYPE_CHECKING:
    import pandas

    from lablib.views.picture import Picture

# The hues of Okabe and Ito (see `palette`); the marker says the same as the colour.
_LOOKS = {
    "promised": ("#D55E00", "^"),
    "published": ("#0072B2", "s"),
    "happened": ("#1a1a1a", "o"),
}
_LETTERS = 98  # in a line of text
_LINE_IN = 0.18
_GAP = 0.6  # between two events, in lines
# Where things stand, as a share of the width.
_FIRST_KIND = 0.145
_NEXT_KIND = 0.075
_WORDS = 0.345


def events(
    table: pandas.DataFrame, title: str = "What was promised, published and happened"
) -> Picture:
    """Plot a row for each event: its date, a marker in the column of its kind, and its sentence.

    table   columns date (text such as 2017-09-05 or 2016-09), kind ("promised", "published" or
            "happened") and event, as `lab.datasets.table("watson-events")` gives

    Rows keep their order, and a line separates two years. Returns a Picture. Raises LabError if
    there is no event or a kind is unknown.
    """
    from lablib.views.picture import blank, drawing

    others = sorted(set(table["kind"]) - set(_LOOKS))
    if others or not len(table):
        raise LabError(
            "These events cannot be drawn.",
            saw=f"kind {others[0]!r}" if others else "an empty table",
            do=f"give each event one of the kinds {', '.join(_LOOKS)}",
        )
    rows = [
        (row.date, row.kind, textwrap.wrap(row.event, _LETTERS))
        for row in table.itertuples(index=False)
    ]
    lines = sum(len(words) for *_, words in rows)
    with drawing():
        picture = blank(10.2, 0.9 + _LINE_IN * (lines + _GAP * len(rows)))
        _draw(picture.subplots(), rows)
        picture.suptitle(title, x=0.01, ha="left", size=11, weight="bold")
    picture.alt = f"{title}. " + " ".join(
        f"{row.date}, {row.kind}: {row.event.rstrip('.')}." for row in table.itertuples()
    )
    return picture


def _draw(axes, rows):
    """Draw from the top down; the y axis counts lines of text."""
    from lablib.views.picture import plain

    axes.axis("off")
    columns = {kind: _FIRST_KIND + _NEXT_KIND * number for number, kind in enumerate(_LOOKS)}
    for kind, x in columns.items():
        axes.text(x, -1, kind, size=9, ha="center", va="center")
    y = _GAP
    year = rows[0][0][:4]
    for date, kind, words in rows:
        if date[:4] != year:
            axes.axhline(y - (1 + _GAP) / 2, color=palette.GRID, linewidth=0.8)
        year = date[:4]
        middle = y + (len(words) - 1) / 2
        color, marker = _LOOKS[kind]
        axes.text(0, middle, date, size=9, va="center", family="monospace")
        axes.plot(columns[kind], middle, marker, color=color, markersize=11)
        for number, line in enumerate(words):
            axes.text(_WORDS, y + number, plain(line), size=9, va="center")
        y += len(words) + _GAP
    axes.set(xlim=(0, 1), ylim=(y - _GAP, -1.6))

"""A comparison's table for people: on a terminal, in Markdown, on a page."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from lablib.record.repeated import NO_DIFFERENCE
from lablib.units import show_bytes
from lablib.views import speedup_words

if TYPE_CHECKING:
    import pandas

_WIDTH = 100
# On a narrow terminal, these columns are omitted in this order.
_SPARE = ("efficiency", "comm_counted", "bubble", "payload_bytes_per_step")


def cell(column: str, value) -> str:
    """Format a value for people; the column's name determines the unit.

    >>> cell("wire_bytes_per_rank", 1.55e6), cell("efficiency", 0.64), cell("speedup", float("nan"))
    ('1.55 MB', '64%', '–')
    """
    if not isinstance(value, (int, float)):
        return str(value)
    if math.isnan(value):
        return "–"
    if "bytes" in column:
        return show_bytes(value)
    if column in ("efficiency", "comm_share", "bubble"):
        return f"{value:.0%}"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def markdown(table: pandas.DataFrame) -> str:
    """Format the table for a Markdown file."""
    table = _for_people(table)
    rows = [list(table.columns), ["---"] * len(table.columns), *_rows(table)]
    escaped = ([shown.replace("|", "\\|").replace("\n", " ") for shown in row] for row in rows)
    return "".join(f"| {' | '.join(row)} |\n" for row in escaped)


def page(table: pandas.DataFrame, caution: str = "") -> str:
    """Format the table as HTML; values that are the same in every row go into its caption.

    caution   why its times are doubtful
    """
    rule = _rule(table)
    caption, table = _apart(_for_people(table))

    def cells(tag, values):
        return "".join(f"<{tag}>{escape(value)}</{tag}>" for value in values)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in _rows(table))
    head = cells("th", table.columns)
    notes = [caption, rule, f"Caution: {caution}." if caution else ""]
    above = "".join(f"<p>{escape(note)}</p>" for note in notes if note)
    return f"{above}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text(table: pandas.DataFrame) -> str:
    """Format a comparison's table for a terminal, in at most 100 characters per line.

    Values that are the same in every row go into its caption. If the table is too wide, some
    columns are shown only on the page.

    table   a DataFrame with one row for each run
    """
    rule = _rule(table)
    caption, table = _apart(_for_people(table))
    shown = dict(zip(table.columns, zip(*_rows(table), strict=True), strict=True))
    columns = {name: _column(table[name], shown[name]) for name in table.columns}
    for name in _SPARE:
        if _wide(columns.values(), 1):
            columns.pop(name, None)
    gap = " " if _wide(columns.values(), 2) else "  "
    rows = [gap.join(cells).rstrip() for cells in zip(*columns.values(), strict=True)]
    return "\n".join(filter(None, [caption, rule, *rows]))


def _for_people(table):
    """Return the table with each speed-up and its range in one column."""
    if "speedup_low" not in table.columns:
        return table
    rows = table.to_dict("records")
    written = {
        "speedup": list(map(speedup_words.speedup, rows)),
        "efficiency": list(map(speedup_words.efficiency, rows)),
    }
    return table.assign(**written).drop(columns=["speedup_low", "speedup_high", "finding"])


def _rule(table):
    unknown = "finding" in table.columns and NO_DIFFERENCE in set(table["finding"])
    return speedup_words.RULE if unknown else ""


def _apart(table):
    """Return the values that are equal in every row, in words, and the table without them."""
    constant = [
        name for name in table.columns if len(table) > 1 and table[name].nunique(dropna=False) == 1
    ]
    caption = ", ".join(f"{name}: {cell(name, table[name].iloc[0])}" for name in constant)
    return caption, table.drop(columns=constant)


def _wide(columns, gap):
    return sum(len(cells[0]) + gap for cells in columns) > _WIDTH


def _column(values, shown):
    """Return header and cells, equally wide: words are aligned left, numbers right."""
    cells = [*_header(values.name), *shown]
    width = max(map(len, cells))
    side = "<" if isinstance(values.iloc[0], str) else ">"
    return [f"{cell:{side}{width}}" for cell in cells]


def _header(name):
    """Split a column's name into at most three lines; the last line has the rest."""
    words = name.replace("_per_", "_/").replace("efficiency", "effi-_ciency").split("_")
    return [""] * (3 - len(words)) + words[:2] + ["_".join(words[2:])] * (len(words) > 2)


def _rows(table):
    rows = table.to_dict("records")
    shown = [{column: cell(column, value) for column, value in row.items()} for row in rows]
    for row in shown:
        if row.get("comm_counted") == "messages":
            row["comm_share"] = f"≤ {row['comm_share']}"
    return [list(row.values()) for row in shown]

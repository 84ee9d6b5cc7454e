"""A strip of bars over time with a curve below it, as plain SVG that is drawn in milliseconds.

It is for sliders. Two matplotlib figures take over half a second to lay out, so that a slider would
feel broken. The bars have the same meanings and colours as in the large figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from lablib.views import palette
from lablib.views.diagrams.svg import Diagram, Sheet

_WIDTH = 900
_LEFT = 78
_RIGHT = 104
_INNER = _WIDTH - _LEFT - _RIGHT
_LETTER = 7.4  # width of a letter in pixels, for text of size 13
_CURVE_HEIGHT = 130


class Bar(NamedTuple):
    """A time interval in a row; top and height are shares of the row's height."""

    row: int
    ink: palette.Ink
    start_s: float
    end_s: float
    top: float
    height: float
    words: str = ""


class Strip(NamedTuple):
    """Rows of bars. `names` are left of each row, `notes` right of it."""

    title: str
    bars: Sequence[Bar]
    names: Sequence[str]
    notes: Sequence[str]
    row_height: int
    scale: float
    unit: str


class Curve(NamedTuple):
    """Points in the order of `values`, evenly spaced; `chosen` is ringed; `ideal` is dotted."""

    title: str
    values: Mapping[float, float]
    chosen: float
    xlabel: str
    unit: str
    ideal: float | None = None


def draw(strip: Strip, curve: Curve) -> Diagram:
    """Draw both on one sheet; its description has the notes and every point of the curve."""
    sheet = Sheet(_WIDTH)
    sheet.text(14, 26, strip.title, size=16, bold=True, anchor="start")
    y = _draw_rows(sheet, strip, 40)
    y = _draw_legend(sheet, strip, y + 22)
    sheet.text(14, y + 30, curve.title, size=16, bold=True, anchor="start")
    y = _draw_curve(sheet, curve, y + 46)
    rows = "; ".join(f"{n}: {note}" for n, note in zip(strip.names, strip.notes) if note)
    points = ", ".join(f"{value:.3g} {curve.unit} at {x:g}" for x, value in curve.values.items())
    description = f"{rows}. {curve.title}. {curve.xlabel}: {points}."
    return sheet.finish(int(y) + 12, strip.title, description.removeprefix(". "))


def _draw_rows(sheet, strip, top):
    start_s = min(bar.start_s for bar in strip.bars)
    end_s = max(bar.end_s for bar in strip.bars)
    per_s = _INNER / max(end_s - start_s, 1e-12)
    bottom = top + len(strip.names) * strip.row_height
    for tick in _ticks(strip.scale * (end_s - start_s)):
        x = _LEFT + tick / strip.scale * per_s
        sheet.line(f"{x:.1f}", top, f"{x:.1f}", bottom + 4, width=1, color=palette.GRID)
        sheet.text(f"{x:.1f}", bottom + 18, f"{tick:g}", size=13)
    sheet.text(_LEFT + _INNER + 12, bottom + 18, strip.unit, size=13, anchor="start")
    for bar in strip.bars:
        x = _LEFT + (bar.start_s - start_s) * per_s
        width = (bar.end_s - bar.start_s) * per_s
        y = top + (bar.row + bar.top) * strip.row_height
        height = bar.height * strip.row_height
        sheet.area(x, y, max(width, 0.5), height, bar.ink)
        if bar.words and width > 10 + 8 * len(bar.words):
            middle = x + width / 2
            half = 3 + 4 * len(bar.words)
            sheet.area(middle - half, y + height / 2 - 8, 2 * half, 16, palette.NUMBER)
            sheet.text(f"{middle:.1f}", f"{y + height / 2 + 4.5:.1f}", bar.words, size=13)
    for row, (name, note) in enumerate(zip(strip.names, strip.notes)):
        y = top + (row + 0.5) * strip.row_height + 5
        sheet.text(14, y, name, size=13, anchor="start")
        sheet.text(_WIDTH - _RIGHT + 10, y, note, size=13, anchor="start")
    return bottom + 18


def _draw_legend(sheet, strip, y):
    x = _LEFT
    for ink in dict.fromkeys(bar.ink for bar in strip.bars):
        width = 46 + _LETTER * len(ink.label)
        if x > _LEFT and x + width > _WIDTH:
            x, y = _LEFT, y + 20
        sheet.area(x, y - 12, 26, 14, ink)
        sheet.text(x + 32, y, ink.label, size=13, anchor="start")
        x += width
    return y


def _draw_curve(sheet, curve, top):
    bottom = top + _CURVE_HEIGHT
    most = max([*curve.values.values(), curve.ideal or 0]) * 1.12 or 1
    step = _INNER / max(1, len(curve.values) - 1)

    def height(value):
        return bottom - value / most * _CURVE_HEIGHT

    for tick in _ticks(most, 4):
        y = f"{height(tick):.1f}"
        sheet.line(_LEFT, y, _LEFT + _INNER, y, width=1, color=palette.GRID)
        sheet.text(_LEFT - 8, f"{height(tick) + 4.5:.1f}", f"{tick:g}", size=13, anchor="end")
    if curve.ideal is not None:
        y = f"{height(curve.ideal):.1f}"
        sheet.line(_LEFT, y, _LEFT + _INNER, y, width=2, color=palette.IDEAL.color, dashed=True)
        sheet.text(_LEFT + _INNER + 10, f"{height(curve.ideal) + 4.5:.1f}", "ideal", size=13,
                   anchor="start")  # fmt: skip
    points = [(_LEFT + n * step, height(value)) for n, value in enumerate(curve.values.values())]
    for (x1, y1), (x2, y2) in zip(points, points[1:]):
        sheet.line(f"{x1:.1f}", f"{y1:.1f}", f"{x2:.1f}", f"{y2:.1f}", width=2, dashed=True)
    for (x, y), at in zip(points, curve.values):
        chosen = at == curve.chosen
        sheet.dot(x, y, 7 if chosen else 3.5, hollow=chosen)
        sheet.text(f"{x:.1f}", bottom + 18, f"{at:g}", size=13, bold=chosen)
    sheet.text(_LEFT + _INNER / 2, bottom + 36, curve.xlabel, size=13)
    sheet.text(_LEFT - 8, top + 4, curve.unit, size=13, anchor="end")
    return bottom + 36


def _ticks(end: float, about: int = 6) -> list[float]:
    """Return round numbers from 0 up to `end`.

    >>> _ticks(34)
    [0.0, 10.0, 20.0, 30.0]
    """
    rough = max(end, 1e-12) / about
    power = 10.0 ** floor(log10(rough))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough * 0.999)
    return [round(number * step, 12) for number in range(ceil(end / step + 1e-9))]

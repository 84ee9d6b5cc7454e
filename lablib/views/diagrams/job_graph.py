"""The jobs of a delivery as a graph: which job needs which, their states and durations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lablib.views import palette
from lablib.views.diagrams.svg import Diagram, Sheet

_WIDTH = 156
_HEIGHT = 66
_ACROSS = 52
_DOWN = 18
_EDGE = 14
_TOP = 52
_SIGNS = {"succeeded": "✓", "failed": "✗", "running": "▶", "stopped": "■"}


class Box(NamedTuple):
    """A job: its name, the framework of its matrix or None, what it needs, its state.

    seconds   how long it took; None if it has not ended
    """

    name: str
    framework: str | None
    needs: tuple[str, ...]
    state: str
    seconds: float | None

    @property
    def words(self) -> str:
        """Return its state, with the duration."""
        return self.state + (f", {self.seconds:.1f} s" if self.seconds is not None else "")


def draw(boxes: Sequence[Box], title: str) -> Diagram:
    """Draw each job in a column to the right of all jobs that it needs.

    >>> draw([Box("test", None, (), "succeeded", 0.52)], "Delivery 1").description
    'test: succeeded, 0.5 s.'
    """
    columns = _columns(boxes)
    places = {
        (box.name, box.framework): (
            _EDGE + column * (_WIDTH + _ACROSS),
            _TOP + row * (_HEIGHT + _DOWN),
        )
        for column, members in enumerate(columns)
        for row, box in enumerate(members)
    }
    rows = max(map(len, columns), default=0)
    sheet = Sheet(max(900, 2 * _EDGE + len(columns) * (_WIDTH + _ACROSS) - _ACROSS))
    sheet.text(_EDGE, 30, title, size=16, bold=True, anchor="start")
    for box in boxes:
        _draw_arrows(sheet, box, places)
        _draw_box(sheet, box, *places[box.name, box.framework])
    words = " ".join(f"{_name(box)}: {box.words}." for box in boxes)
    return sheet.finish(_TOP + rows * (_HEIGHT + _DOWN), title, words)


def _columns(boxes):
    """Return the jobs by the number of jobs that come before them; a circle ends in one column."""
    depth = dict.fromkeys((box.name for box in boxes), 0)
    for _ in boxes:
        for box in boxes:
            before = [depth[need] + 1 for need in box.needs if need in depth]
            depth[box.name] = min(max(before, default=0), len(boxes))
    levels = sorted(set(depth.values()))
    return [[box for box in boxes if depth[box.name] == level] for level in levels]


def _draw_arrows(sheet, box, places):
    x, y = places[box.name, box.framework]
    for (name, _), (before_x, before_y) in places.items():
        if name in box.needs:
            start = before_x + _WIDTH, before_y + _HEIGHT / 2
            sheet.arrow([start, (x - 1, y + _HEIGHT / 2)])


def _draw_box(sheet, box, x, y):
    ink = palette.JOB_STATES.get(box.state, palette.NUMBER)
    dashed = box.state in ("waiting", "skipped")
    sheet.box(x, y, _WIDTH, _HEIGHT, fill=ink.color, dashed=dashed, about=box.words)
    middle = x + _WIDTH / 2
    sheet.text(middle, y + 22, box.name, size=15, bold=True)
    if box.framework:
        sheet.text(middle, y + 39, box.framework, size=13)
    sign = _SIGNS.get(box.state, "")
    sheet.text(middle, y + 57, f"{sign} {box.words}".strip(), size=13)


def _name(box):
    return f"{box.name} ({box.framework})" if box.framework else box.name

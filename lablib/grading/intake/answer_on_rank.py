"""Unpickle an answer into a function. Only ranks do this."""

from __future__ import annotations

import functools
import linecache
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from lablib.cluster import definitions
from lablib.grading.intake.notebook_file import Cell


@dataclass(frozen=True)
class PickledObserver:
    """Like `Observer`, for an answer that a notebook's process has pickled.

    observe    the exercise's function
    function   the answer's bytes. A learner's process wrote them, so only ranks may unpickle them
    cells      the notebook's cells, for tracebacks
    """

    observe: object
    function: bytes
    cells: tuple[Cell, ...]

    def __call__(self, me, given: dict):
        # A rank whose `observe` does not call the answer runs none of the learner's code. So a
        # claim may trust what such a rank returns.
        show_sources(self.cells)
        answer = functools.cache(lambda: definitions.unpacked(self.function))
        return self.observe(me, lambda *args: answer()(*args), SimpleNamespace(**given))


def file_name(cell: Cell) -> str:
    """Return the cell's name in tracebacks, such as "cell exercise-3-2"."""
    return f"cell {cell.label}"


def show_sources(cells: Sequence[Cell]) -> None:
    """Let tracebacks and TensorFlow's AutoGraph find the source of cells, which have no file."""
    for cell in cells:
        text = cell.source
        entry = len(text), None, text.splitlines(True), file_name(cell)
        linecache.cache[file_name(cell)] = entry

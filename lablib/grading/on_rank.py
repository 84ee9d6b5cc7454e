"""An answer that came as text, made a function: on a rank, and nowhere else."""

from __future__ import annotations

import functools
import linecache
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

from lablib.grading.answers import Piece

_MODULE = "notebook"


@dataclass(frozen=True)
class TextObserver:
    """Like `Observer`, for an answer that is text: it is compiled where it runs.

    observe   the exercise's own
    pieces    the program that defines the answer
    name      what the answer is called in it
    """

    observe: object
    pieces: tuple[Piece, ...]
    name: str

    def __call__(self, me, given: dict):
        # A rank whose `observe` does not call the answer runs none of the learner's code. So a
        # claim may trust what such a rank returns.
        answer = functools.cache(lambda: compiled(self.pieces, self.name))
        return self.observe(me, lambda *args: answer()(*args), SimpleNamespace(**given))


def compiled(pieces: tuple[Piece, ...], name: str) -> object:
    """What `name` is once the pieces have run in a module of their own.

    Errors name the learner's own cell and line.
    """
    # Classes of the answer are looked up by their module's name, by pickle and by dataclasses.
    module = sys.modules[_MODULE] = ModuleType(_MODULE)
    _show_sources(pieces)
    for piece in pieces:
        # Empty lines before it, so that its lines bear the numbers that they have in the cell.
        text = "\n" * (piece.first_line - 1) + piece.text
        exec(compile(text, piece.cell, "exec", dont_inherit=True), vars(module))
    return vars(module)[name]


def _show_sources(pieces):
    """Cells are in no file: tracebacks and TensorFlow's AutoGraph read them from here."""
    cells: dict[str, list[str]] = {}
    for piece in pieces:
        lines = cells.setdefault(piece.cell, [])
        own = piece.text.split("\n")
        lines += [""] * (piece.first_line - 1 + len(own) - len(lines))
        lines[piece.first_line - 1 : piece.first_line - 1 + len(own)] = own
    for cell, lines in cells.items():
        text = [line + "\n" for line in lines]
        linecache.cache[cell] = (sum(map(len, text)), None, text, cell)

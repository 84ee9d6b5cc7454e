"""Put a lab and its solution into one notebook, so that the cells that both share run only once."""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterator

from IPython.core.inputtransformer2 import TransformerManager

_DEFINITIONS = ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom


def with_its_lab(solution: dict, lab: dict) -> dict | None:
    """Return a notebook that runs every cell of the solution and every cell of the lab.

    The two notebooks differ only in the cells of exercises. A cell that reads a name from an
    exercise runs twice: first after the lab's version of the exercise, then after the solution's.
    The second time it assigns its names again, so every other cell finds the values that it would
    find in the lab, and in the solution.

    Returns None if this does not hold, because an exercise's cell does more than define functions,
    or because a cell reads a value that another cell has computed with an exercise's function. Then
    both notebooks must run whole.
    """
    cells, exercises = [], []
    derived: set[str] = set()
    for cell, in_lab in zip(_code(solution), _code(lab), strict=True):
        assigned, read = _names(cell["source"])
        asks = [both for both, names in exercises if names & read]
        if in_lab["source"] != cell["source"]:
            if not (_only_defines(cell) and _only_defines(in_lab)):
                return None
            exercises.append(((cell, in_lab), assigned | _names(in_lab["source"])[0]))
        elif read & derived:
            return None
        elif asks:
            solved, untouched = zip(*asks)
            cells += [*untouched, cell, *solved]
            derived |= assigned
        cells.append(cell)
    return solution | {"cells": [cell | {"id": str(at)} for at, cell in enumerate(cells)]}


def _code(book: dict) -> Iterator[dict]:
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            yield cell | {"source": "".join(cell["source"]), "outputs": []}


def _only_defines(cell: dict) -> bool:
    body = ast.parse(_python(cell["source"])).body
    return all(isinstance(statement, _DEFINITIONS) for statement in body)


def _names(source: str) -> tuple[set[str], set[str]]:
    """Return the notebook's names that a cell may assign, and those that it may read."""
    python = _python(source)
    if "get_ipython()" in python:  # the text of a magic may be code, so take all its words
        words = set(re.findall(r"\w+", source))
        return words, words
    top = symtable.symtable(python, "cell", "exec")
    inner = [table for child in top.get_children() for table in _all(child)]
    own = [symbol for table in inner for symbol in table.get_symbols() if symbol.is_global()]
    every = [*top.get_symbols(), *own]
    assigned = {s.get_name() for s in every if s.is_assigned() or s.is_imported()}
    return assigned, {s.get_name() for s in every if s.is_referenced()}


def _all(table):
    yield table
    for child in table.get_children():
        yield from _all(child)


def _python(source: str) -> str:
    return TransformerManager().transform_cell(source)

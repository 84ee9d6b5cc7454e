"""The hidden cases of an exercise, without the rest of their file.

Beside the cases stand right and wrong answers, which need frameworks. A process that grades runs no
answer, so it does without an import that takes seconds.
"""

from __future__ import annotations

from types import ModuleType

from lablib.grading import python_cells
from lablib.grading.notebook_file import Cell
from lablib.teach.exercise import Case, Exercise


def hidden_cases(exercise: Exercise, seed: int) -> list[Case]:
    """What `cases(seed)` of the hidden file returns; of the file only what it needs is executed."""
    path = exercise.hidden_path
    code = python_cells.read([Cell(0, "code", path.read_text("utf-8"))])
    module = ModuleType(f"lablib_hidden_cases_{path.stem}")
    for one in python_cells.with_needs(code.definitions["cases"][-1], code):
        # Empty lines before it, so that its lines bear the numbers that they have in the file.
        text = "\n" * (one.first_line - 1) + one.text
        exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))
    return module.cases(seed)

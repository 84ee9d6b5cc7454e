"""The hidden cases of an exercise, without the rest of their file.

Beside the cases stand right and wrong answers, which need frameworks. A process that grades runs no
answer, so it does without an import that takes seconds.
"""

from __future__ import annotations

import ast
from types import ModuleType

from lablib.grading.intake import python_cells
from lablib.teach.exercise import Case, Exercise


def hidden_cases(exercise: Exercise, seed: int) -> list[Case]:
    """What `cases(seed)` of the hidden file returns; of the file only what it needs is executed."""
    path = exercise.hidden_path
    tree = ast.parse(path.read_text("utf-8"))
    tree.body = python_cells.needed(tree.body, "cases")
    module = ModuleType(f"lablib_hidden_cases_{path.stem}")
    exec(compile(tree, str(path), "exec", dont_inherit=True), vars(module))
    return module.cases(seed)

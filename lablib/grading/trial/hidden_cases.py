"""Load the hidden cases of an exercise without the rest of their file.

The file also has right and wrong answers, which import frameworks. A process that grades runs no
answers, so it avoids this import, which takes seconds.
"""

from __future__ import annotations

import ast
from types import ModuleType

from lablib.grading.intake import python_cells
from lablib.teach.exercise import Case, Exercise


def hidden_cases(exercise: Exercise, seed: int) -> list[Case]:
    """Return `cases(seed)` of the hidden file; execute only the statements that it needs."""
    path = exercise.hidden_path
    tree = ast.parse(path.read_text("utf-8"))
    tree.body = python_cells.needed(tree.body, "cases")
    module = ModuleType(f"lablib_hidden_cases_{path.stem}")
    exec(compile(tree, str(path), "exec", dont_inherit=True), vars(module))
    return module.cases(seed)

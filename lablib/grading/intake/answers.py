"""Look for the answers to a lab's exercises in a notebook, without running it.

This decides whether there is anything to try, and why a learner's cell cannot be run.
`answer_finder` then finds the functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from lablib.grading.intake import python_cells
from lablib.grading.intake.notebook_file import Cell, Notebook

FOUND = "found"
NOT_ATTEMPTED = "not attempted"
NOT_FOUND = "not found"
SYNTAX_ERROR = "syntax error"
OTHER_SHAPE = "cannot be called"
# A program that tries to find its judge uses these names. This is only a hint for the instructor:
# it is easy to avoid the names.
_NO_EXERCISE_NEEDS = re.compile(
    r"_getframe|currentframe|get_objects|get_referrers|settrace|setprofile|_recorder|ctypes|/proc/"
    r"|lablib\.(?:box|cluster|grading|teach|record\.recorder)"
)
_ID_OF_EXERCISE = re.compile(r"exercise-\d+-\d+(-[a-z])?")


@dataclass(frozen=True)
class Answer:
    """What a notebook has for one of the functions that an exercise asks for.

    name      the name that the exercise gives the function
    status    FOUND if a cell of the learner may define it, or why it cannot be tried: one of the
              constants of this module
    reason    more about the status, in words
    notes     for the instructor
    unfound   (status, reason) if the notebook runs and no cell has defined the function
    """

    name: str
    status: str
    reason: str = ""
    notes: tuple[str, ...] = ()
    unfound: tuple[str, str] = (NOT_FOUND, "")

    def plain(self) -> dict:
        return asdict(self)

    @classmethod
    def of(cls, plain: dict) -> Answer:
        """Read what `plain` wrote."""
        return cls(**plain | {key: tuple(plain[key]) for key in ("notes", "unfound")})


@dataclass
class AnswerReader:
    """One notebook beside the lab that it was made from; `released` may be empty."""

    notebook: Notebook
    released: Sequence[Cell] = ()
    cells: list[Cell] = field(init=False)
    errors: dict[int, tuple[int, str]] = field(init=False, default_factory=dict)
    program: tuple[Cell, ...] = field(init=False, default=())

    def __post_init__(self):
        self.cells = [cell for cell in self.notebook.cells if self._may_be_code(cell)]
        by_source = {cell.source.strip() for cell in self.released if cell.kind == "code"}
        self.as_released = {c.number for c in self.cells if c.source.strip() in by_source}
        for cell in self.cells:
            text, tree, error = python_cells.parsed(cell.source)
            if tree is None:
                self.errors[cell.number] = error
            else:
                self.program += (replace(cell, source=text),)

    def answers(self, number: str, signatures: Sequence[str]) -> list[Answer]:
        """The answers to exercise `number`, one for each signature that it asks for."""
        names = [due.partition("(")[0] for due in signatures]
        return [self._answer(number, which, name) for which, name in enumerate(names)]

    def _may_be_code(self, cell):
        return cell.kind == "code" or bool(_ID_OF_EXERCISE.fullmatch(cell.id))

    def _answer(self, number, which, name):
        ids = cell_ids(number, which)
        own = [cell for cell in self.cells if cell.id in ids]
        starters = [cell for cell in self.released if cell.id in ids]
        untouched = [
            cell
            for cell in self.cells
            if any(python_cells.same(cell.source, starter.source) for starter in starters)
        ]
        theirs = self._theirs(number, name, own, untouched)
        if not theirs:
            state = (NOT_ATTEMPTED, "") if own or untouched else _unfound(name)
            return Answer(name, *state)
        notes = self._notes(name, own, theirs)
        broken = [cell for cell in theirs if cell.number in self.errors]
        unfound = self._syntax_error(broken) if broken else _unfound(name)
        if len(broken) == len(theirs):
            return Answer(name, *unfound, notes=notes)
        return Answer(name, FOUND, "", notes, unfound)

    def _theirs(self, number, name, own, untouched):
        """Return the changed cells that may define the answer or pass it to `lab.check`.

        These are the exercise's own cell and all cells that name the function.
        """
        tells = re.compile(rf"\b{re.escape(name)}\b|[\"']{re.escape(number)}[\"']")
        changed = [cell for cell in self.cells if cell.number not in self.as_released]
        about = [*own, *(cell for cell in changed if tells.search(cell.source))]
        return [cell for cell in self.cells if cell in about and cell not in untouched]

    def _syntax_error(self, broken):
        line, error = self.errors[broken[0].number]
        return SYNTAX_ERROR, f"line {line} of cell {broken[0].label}: {error}"

    def _notes(self, name, own, theirs):
        notes = []
        if not own:
            notes.append(f"the exercise's cell is missing, so {name} was found by its name")
        if any(cell.kind != "code" for cell in theirs):
            notes.append(f"the cell of {name} is text, not code, but it was graded as code")
        learners = (c.source for c in self.cells if c.number not in self.as_released)
        found = (word for source in learners for word in _NO_EXERCISE_NEEDS.findall(source))
        if named := sorted({word.strip("/") for word in found}):  # a path would be scrubbed
            notes.append(f"it uses {', '.join(named)}, which no exercise needs")
        return tuple(notes)


def _unfound(name):
    return NOT_FOUND, f"no cell defines {name}"


def cell_ids(number: str, which: int) -> tuple[str, ...]:
    """Return the possible ids of an answer's cell: its own, or the one for all answers.

    >>> cell_ids("3.2", 0), cell_ids("3.2", 1)
    (('exercise-3-2', 'exercise-3-2-a'), ('exercise-3-2', 'exercise-3-2-b'))
    """
    base = f"exercise-{number.replace('.', '-')}"
    return base, f"{base}-{'abcdefghij'[which]}"

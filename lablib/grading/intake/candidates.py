"""Find the answers that a notebook's cells define, by running the cells in the sandbox.

A learner's process writes the results. So they are checked and shown escaped, and the functions
stay bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lablib.grading.intake.answer_finder import NOTEBOOK_S, NotebookRun
from lablib.grading.intake.answer_on_rank import file_name
from lablib.grading.intake.answers import FOUND, NOT_FOUND, OTHER_SHAPE, Answer, cell_ids
from lablib.grading.intake.notebook_file import Cell
from lablib.teach.exercise import Case, Exercise

_MARGIN_S = 20  # in addition to the time limit of the notebook's own process
_REMEMBERED = 4
_MOST_CANDIDATES = 3
_LONGEST = 300


@dataclass(frozen=True)
class Candidate:
    """A function that may be the answer, as bytes; or, with another status, a reason."""

    function: bytes = b""
    status: str = FOUND
    reason: str = ""
    notes: tuple[str, ...] = ()


class FoundAnswers:
    """Runs notebooks in `place` (see `places`), and remembers the last few.

    exercises   all for which answers may be asked, so that one run serves them all
    """

    def __init__(self, exercises: Sequence[Exercise], place):
        self.place = place
        self.due = {one.number: tuple(one.answers) for one in exercises}
        self._outcomes: dict[tuple[tuple[Cell, ...], str], object] = {}

    def candidates(
        self, cells: tuple[Cell, ...], framework: str, number: str, which: int, answer: Answer
    ) -> list[Candidate]:
        """Return at least one candidate; a function that `lab.check` received comes first.

        framework   the framework of the sandbox that tries the answer and runs the cells
        """
        if answer.status != FOUND:
            return [Candidate(status=answer.status, reason=answer.reason)]
        outcome = self._outcome(cells, framework)
        if outcome.status != "ok":
            return [Candidate(status=outcome.status, reason=f"the cells: {outcome.reason}")]
        own = [cell for cell in cells if cell.id in cell_ids(number, which)]
        value = outcome.seen.values[0]
        listed = _listed(value, number, which)[:_MOST_CANDIDATES]
        found = [_candidate(one, answer.name, own) for one in listed if isinstance(one, dict)]
        return found or [_unfound(answer, own or cells, value)]

    def _outcome(self, cells, framework):
        key = cells, framework
        if key not in self._outcomes:
            case = Case(
                "the notebook's cells", framework=framework, timeout_s=NOTEBOOK_S + _MARGIN_S
            )
            outcome = self.place.try_case(case, NotebookRun(cells, self.due))
            while len(self._outcomes) >= _REMEMBERED:
                self._outcomes.pop(next(iter(self._outcomes)))
            self._outcomes[key] = outcome
        return self._outcomes[key]


def _listed(value, number, which):
    try:
        listed = value["answers"][number][which]
    except (TypeError, KeyError, IndexError):
        return []
    return listed if isinstance(listed, list) else []


def _candidate(plain, name, own):
    function = plain.get("function")
    if not isinstance(function, bytes):
        return Candidate(status=OTHER_SHAPE, reason=_text(plain.get("problem")))
    where = _text(plain.get("where"))
    called = _text(plain.get("called"))
    notes = []
    if where.startswith("cell ") and own and where not in map(file_name, own):
        notes.append(f"{name} was found in {where}")
    if called not in (name, "") and plain.get("renamed"):
        notes.append(f"the function is called {called}, not {name}")
    if missing := _text(plain.get("missing")):
        notes.append(
            f"it uses {missing}, which the notebook's cells do not define when they run in order"
        )
    return Candidate(function, notes=tuple(notes))


def _unfound(answer, cells, value):
    """Return why there is no function; if a cell failed, this is the better explanation."""
    failed = value.get("failed") if isinstance(value, dict) else None
    for cell in cells if isinstance(failed, dict) and answer.unfound[0] == NOT_FOUND else ():
        if str(cell.number) in failed:
            reason = f"cell {cell.label} {_text(failed[str(cell.number)])}"
            return Candidate(status="error", reason=reason)
    return Candidate(status=answer.unfound[0], reason=answer.unfound[1])


def _text(value):
    """Return a short line of text from any value that a learner's process wrote."""
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return text[:_LONGEST]

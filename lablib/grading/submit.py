"""`python -m lablib submit`: check a learner's notebook and write the file to hand in.

The file is the notebook, with the learner's quiz answers, predictions and written answers in its
metadata. The notebook's cells run once to find the answers, as they do when it is graded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lablib.computer.facts import ROOT
from lablib.errors import LabError
from lablib.files import write_completely
from lablib.grading.intake import notebook_file, safe_reading
from lablib.grading.intake.answers import FOUND, NOT_ATTEMPTED, Answer
from lablib.grading.intake.candidates import FoundAnswers
from lablib.grading.trial.isolation import InTheOpen
from lablib.teach import exercise, progress, written_questions, written_text

_MOST_BYTES = notebook_file.MOST_BYTES // 2


@dataclass(frozen=True)
class SubmitReport:
    """The content of the file that was written.

    answers   by exercise, one for each function that the exercise asks for
    notes     notes for the learner
    """

    file: Path
    answers: dict[str, Sequence[Answer]]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Return whether every attempted exercise can be graded."""
        states = {answer.status for several in self.answers.values() for answer in several}
        return states <= {FOUND, NOT_ATTEMPTED}

    def __str__(self):
        lines = []
        for number, several in self.answers.items():
            for answer in several:
                parts = [answer.status, answer.reason, *answer.notes]
                lines.append(f"{number}  {answer.name}: {'; '.join(filter(None, parts))}")
        return "\n".join([*lines, *self.notes, f"Hand in this file: {self.file}"])


def submit(lab: str, out: Path, root: Path = ROOT) -> SubmitReport:
    """Write the file for lab "03".

    Raises LabError if the notebook is missing or unreadable, or if `out` is another kind of file.
    """
    lab = lab.zfill(2)
    exercises = exercise.every(root / "labs/checks", None, lab)
    path = _notebook(lab, root)
    _check_replaces_nothing_else(out, path)
    data = path.read_bytes()
    found = safe_reading.read(data, exercises, root / "labs" / path.name)
    if found.problem:
        raise LabError("Your notebook cannot be read.", saw=f"{path}: {found.problem}",
                       do="save it again in JupyterLab, or restore it: "
                       f"python -m lablib reset {lab}")  # fmt: skip
    written = written_questions.every(root / "labs/checks", lab)
    book = json.loads(notebook_file.decoded(data))
    notes = list(_states(written))
    book.setdefault("metadata", {})["lablib"] = _kept(lab, written)
    text = json.dumps(book, indent=1, ensure_ascii=False)
    if len(text.encode()) > _MOST_BYTES:
        for cell in book.get("cells", ()):
            if "outputs" in cell:
                cell["outputs"] = []
        text = json.dumps(book, indent=1, ensure_ascii=False)
        notes.append(
            "the outputs were removed, because they made the file large; nobody grades them"
        )
    write_completely(out, text + "\n")
    return SubmitReport(out, _run(exercises, found), tuple(notes))


def _check_replaces_nothing_else(out, notebook):
    """Raise LabError if `out` is the learner's notebook, or a file that `submit` did not write."""
    if not out.exists():
        return
    try:
        ours = "quizzes" in json.loads(out.read_bytes())["metadata"]["lablib"]
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours or out.samefile(notebook):
        raise LabError("This file would be replaced, and it is not an earlier file to hand in.",
                       saw=str(out), do="name a new file with --out")  # fmt: skip


def _run(exercises, found):
    """Find the answers by running the cells, as grading does."""
    finder = FoundAnswers(exercises, InTheOpen())
    return {one.number: [_found(one, which, answer, found.cells, finder)
                         for which, answer in enumerate(found.answers[one.number])]
            for one in exercises}  # fmt: skip


def _found(exercise, which, answer, cells, finder):
    if answer.status != FOUND:
        return answer
    framework = next(c.framework for c in exercise.module.cases(0) if c.answer == which)
    candidates = finder.candidates(cells, framework, exercise.number, which, answer)
    one = next((one for one in candidates if one.status == FOUND), candidates[0])
    notes = (*answer.notes, *one.notes)
    return replace(answer, status=one.status, reason=one.reason, notes=notes)


def _notebook(lab, root):
    found = sorted((root / "my_labs").glob(f"{lab}_*.ipynb"))
    labs = {path.name for path in (root / "labs").glob(f"{lab}_*.ipynb")}
    mine = [path for path in found if path.name in labs]
    if len(mine) == 1:
        return mine[0]
    there = ", ".join(sorted(p.name for p in (root / "my_labs").glob("*.ipynb"))) or "nothing"
    raise LabError("There is no notebook of this lab in my_labs/.", saw=f"my_labs/ has {there}",
                   do="open the lab with python -m lablib lab, or give another number")  # fmt: skip


def _states(written):
    """Say how far each written answer is."""
    for number, question in written.items():
        state = written_text.state(question, progress.kept("written", number))
        where = "" if question.is_graded else " (only you read it, so it is not handed in)"
        yield f"{number}  {question.title}: {state}{where}"


def _kept(lab, written):
    number = f"{int(lab)}."
    chosen = {entry["name"]: entry["choice"] for entry in progress.all_kept("quiz")
              if str(entry.get("name", "")).startswith(number) and "choice" in entry}  # fmt: skip
    guesses = [{key: entry[key] for key in ("name", "guess", "happened") if key in entry}
               for entry in progress.all_kept("prediction")]  # fmt: skip
    texts = {number: text for number, question in written.items() if question.is_graded
             and (text := progress.kept("written", number).get("text"))}  # fmt: skip
    return {"lab": lab, "quizzes": chosen, "predictions": guesses, "written": texts}

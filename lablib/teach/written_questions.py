"""The written questions of a lab, in `labs/checks/06_written.toml`:

["6.w1"]
title = "Post-mortem"
reader = "instructor"       who reads the answer: "instructor" or "yourself"
question = "..."            an empty line begins a new paragraph
points = 4                  only for reader = "instructor": the sum of the rubric's points
rubric = [{points = 1, text = "Names the first wrong step."}, ...]
answer = "..."              only for reader = "yourself": a model answer

Learners receive this file. So it has no model answer to a question that the instructor grades.
"""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lablib.errors import LabError
from lablib.teach.exercise import CHECKS

INSTRUCTOR, YOURSELF = "instructor", "yourself"
_FILES = "[0-9][0-9]_written.toml"
_Text = Annotated[str, Meta(pattern=r"\S")]
_Points = Annotated[float, Meta(gt=0, le=1000)]


class RubricPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that a good answer has."""

    text: _Text
    points: _Points = 1


class WrittenQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question that is answered in sentences.

    points   the most points that the instructor can give; 0 if learners assess their own answer
    answer   the model answer; "" if the instructor reads the learners' answers
    """

    number: str
    title: _Text
    reader: Literal["instructor", "yourself"]
    question: _Text
    rubric: Annotated[tuple[RubricPoint, ...], Meta(min_length=1)]
    points: float = 0
    answer: str = ""

    @property
    def is_graded(self) -> bool:
        """Return whether the instructor reads the answer."""
        return self.reader == INSTRUCTOR


def every(checks: Path = CHECKS, lab: str = "") -> dict[str, WrittenQuestion]:
    """Return the questions by number, of one lab such as "06" or of all labs.

    Raises LabError if a file does not have the format above.
    """
    files = sorted(path for path in checks.glob(_FILES) if path.name.startswith(lab))
    return {question.number: question for path in files for question in _questions(path)}


def graded(checks: Path, lab: str) -> dict[str, WrittenQuestion]:
    """Return the lab's questions whose answers the instructor reads, by number."""
    return {number: one for number, one in every(checks, lab).items() if one.is_graded}


def find(number: str, checks: Path = CHECKS) -> WrittenQuestion:
    """Return the question "6.w1"; raise LabError if there is none."""
    questions = every(checks)
    if number not in questions:
        known = ", ".join(questions) or "none"
        raise LabError(
            "There is no such written question.", saw=repr(number), do=f"choose one of: {known}"
        )
    return questions[number]


def _questions(path):
    try:
        entries = tomllib.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise _malformed(path, str(error)) from None
    return [_question(path, number, entry) for number, entry in entries.items()]


def _question(path, number, entry):
    if not re.fullmatch(rf"{int(path.name[:2])}\.w[1-9]\d?", number):
        raise _malformed(path, f"[{number!r}] is not a number of this lab")
    if not isinstance(entry, dict):
        raise _malformed(path, f"{number} is not a table")
    try:
        question = msgspec.convert(entry | {"number": number}, WrittenQuestion)
    except msgspec.ValidationError as error:
        raise _malformed(path, f"{number}: {error}") from None
    if problem := _problem(question):
        raise _malformed(path, f"{number}: {problem}")
    return question


def _problem(question):
    """Return what does not fit the reader of the answers; "" if all is well."""
    of_rubric = sum(point.points for point in question.rubric)
    if question.is_graded and not math.isclose(question.points, of_rubric):
        return f"points = {question.points:g}, but the rubric has {of_rubric:g} points"
    if question.is_graded and question.answer:
        return "it has a model answer, which learners would receive"
    if not question.is_graded and question.points:
        return "it has points, but nobody gives points to answers that learners assess themselves"
    if not question.is_graded and not question.answer.strip():
        return "the model answer is missing"
    return ""


def _malformed(path, saw):
    return LabError(
        "The format of a written question is wrong.",
        saw=f"{path.name}: {saw}",
        do='write ["6.w1"] with title, question, rubric, and reader = "instructor" with points, '
        'or reader = "yourself" with answer',
    )

"""Read the questions of a lab's knowledge check from a file such as `labs/checks/03_quizzes.toml`:

[a]                                   the quiz "3.a"
question = "Which ... ?"
[[a.choices]]
text = "..."
right = true                          for exactly one choice
why = "..."                           shown as soon as it is chosen
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from lablib.errors import LabError
from lablib.teach.exercise import CHECKS


@dataclass(frozen=True)
class Choice:
    text: str
    why: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question with its choices, of which one is right."""

    number: str
    question: str
    choices: tuple[Choice, ...]


def numbers(checks: Path = CHECKS) -> list[str]:
    """Return the numbers of the quizzes of all labs, such as "3.a"."""
    return list(_questions(checks))


def find(number: str, checks: Path = CHECKS) -> Question:
    """Return the question "3.a"; raise LabError if there is none."""
    questions = _questions(checks)
    if number not in questions:
        known = ", ".join(questions) or "none"
        raise LabError("There is no such quiz.", saw=repr(number), do=f"choose one of: {known}")
    return questions[number]


def _questions(checks) -> dict[str, Question]:
    found = {}
    for path in sorted(checks.glob("[0-9][0-9]_quizzes.toml")):
        lab = str(int(path.name[:2]))
        for letter, entry in tomllib.loads(path.read_text("utf-8")).items():
            found[f"{lab}.{letter}"] = _question(f"{lab}.{letter}", entry, path)
    return found


def _question(number, entry, path):
    try:
        choices = tuple(Choice(**choice) for choice in entry["choices"])
        question = Question(number, entry["question"], choices)
    except (KeyError, TypeError) as error:
        raise _malformed(path, number, f"{type(error).__name__}: {error}") from None
    if sum(choice.right for choice in choices) != 1:
        raise _malformed(path, number, "not exactly one choice has right = true")
    return question


def _malformed(path, number, saw):
    do = "write question, and [[choices]] with text and why; exactly one has right = true"
    return LabError("The format of a quiz is wrong.", saw=f"{path.name}, {number}: {saw}", do=do)

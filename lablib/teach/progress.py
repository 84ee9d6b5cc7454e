"""The learner's progress in exercises, predictions, quizzes and written answers.

Each entry is a small file in `.lablib/standing/`, so that two notebooks never disturb one another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path

from lablib.errors import LabError
from lablib.files import home, write_completely
from lablib.teach import exercise, quizzes_file, written_questions, written_text

_NEAR = 0.25


def keep(kind: str, name: str, entry: dict) -> bool:
    """Store `entry` for one exercise, prediction, quiz or written answer.

    Returns False, and stores nothing, if the disk is full.
    """
    folder = home() / "standing" / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_completely(folder / f"{_file_name(name)}.json", json.dumps({"name": name} | entry))
    except (OSError, LabError):
        return False
    return True


def kept(kind: str, name: str) -> dict:
    """Return the stored entry; {} if there is none, or if it cannot be read."""
    return _read(home() / "standing" / kind / f"{_file_name(name)}.json")


def all_kept(kind: str) -> list[dict]:
    """Return all stored entries of a kind: "exercise", "prediction", "quiz" or "written"."""
    paths = sorted((home() / "standing" / kind).glob("*.json"))
    return list(filter(None, map(_read, paths)))


class Progress:
    """The progress in all labs: exercises with points, written answers, quizzes, predictions."""

    def __init__(self):
        self.exercises = [(one, kept("exercise", one.number)) for one in exercise.every()]
        self.written = [(one, kept("written", n)) for n, one in written_questions.every().items()]
        self.quizzes = [(number, kept("quiz", number)) for number in quizzes_file.numbers()]
        self.predictions = [entry for entry in all_kept("prediction") if "happened" in entry]

    @property
    def points(self) -> float:
        return round(sum(entry.get("points", 0) for _, entry in self.exercises), 2)

    @property
    def of(self) -> float:
        return sum(one.points for one, _ in self.exercises)

    def _rows(self):
        for one, entry in self.exercises:
            tries = entry.get("tries", 0)
            state = f"{entry['points']:g} of {one.points:g}" if tries else "not attempted yet"
            yield f"{one.number}", one.title, state
        for question, entry in self.written:
            yield question.number, question.title, written_text.state(question, entry)
        right = sum(bool(entry.get("right")) for _, entry in self.quizzes)
        if self.quizzes:
            yield "quizzes", "answered right", f"{right} of {len(self.quizzes)}"
        for topic, state in self.guesses_by_topic():
            yield "guesses", f"{topic}: within a quarter of the result", state

    def points_of(self, lab: int) -> tuple[float, float]:
        """Return the points for the exercises of one lab, and the most that they can give."""
        own = [(one, e) for one, e in self.exercises if one.number.split(".")[0] == str(lab)]
        got = sum(entry.get("points", 0) for _, entry in own)
        return round(got, 2), sum(one.points for one, _ in own)

    def guesses_by_topic(self) -> Iterator[tuple[str, str]]:
        """Yield each topic and how well its results were predicted, such as "3 of 4, 1 skipped".

        A guess counts if it is within a quarter of the result.
        """
        for topic in sorted({entry.get("topic", "") for entry in self.predictions}):
            entries = [entry for entry in self.predictions if entry.get("topic", "") == topic]
            guessed = [entry["error"] for entry in entries if entry.get("error") is not None]
            near = sum(error <= _NEAR for error in guessed)
            skipped = len(entries) - len(guessed)
            state = f"{near} of {len(guessed)}" + (f", {skipped} skipped" if skipped else "")
            yield topic or "predictions", state

    def __repr__(self):
        rows = [(number, title, state) for number, title, state in self._rows()]
        width = max((len(title) for _, title, _ in rows), default=0)
        lines = [f"{number:8} {title:{width}}  {state}" for number, title, state in rows]
        return "\n".join([f"{self.points:g} of {self.of:g} points", *lines])

    def _repr_html_(self):
        rows = "".join(
            "<tr>"
            + "".join(f"<td style='text-align: left'>{escape(cell)}</td>" for cell in row)
            + "</tr>"
            for row in self._rows()
        )
        caption = f"{self.points:g} of {self.of:g} points"
        return f"<table><caption>{caption}</caption>{rows}</table>"


def progress() -> Progress:
    """Return your progress in all labs; write `lab.progress()` as a cell's last line to see it."""
    return Progress()


def _read(path: Path) -> dict:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _file_name(name):
    safe = "".join(c if c.isalnum() or c in ".-" else "_" for c in name)
    return safe[:80]

"""The grades of a class: a row for each submission, and tables of these rows.

    grades.csv            id, each exercise, total, late, status, reason, comment, tier
    exercises.csv         a row for each submission and exercise, with what was found
    grades_canvas.csv     for Canvas's import of grades
    grades_nbgrader.csv   with the columns of `nbgrader export`

A cell that a spreadsheet would read as a formula gets an apostrophe. Equal grades give equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lablib.grading.intake.submissions import Submission
from lablib.grading.results.lateness import Lateness
from lablib.grading.results.overrides import Override
from lablib.grading.results.spreadsheet import csv_text
from lablib.grading.trial.grade_exercise import Graded

GRADED, NOT_GRADED = "graded", "not graded"
_LONGEST_CELL = 1000


@dataclass(frozen=True)
class Row:
    """One submission's grade.

    status     GRADED, or why there is no grade: missing, refused, unreadable; or NOT_GRADED, if at
               least one exercise is not graded yet. Then it has no points, and the row has no total
    exercises  the graded exercises by number
    changes    the instructor's changes to this submission
    """

    submission: Submission
    status: str
    reason: str
    exercises: dict[str, Graded]
    of: dict[str, float]
    changes: tuple[Override, ...] = ()
    lateness: Lateness = Lateness()
    quizzes: str = ""
    tier: str = ""

    @property
    def id(self) -> str:
        return self.submission.id

    @cached_property
    def points(self) -> dict[str, float]:
        """Return the points of each graded exercise; the instructor's points take precedence."""
        without = {} if self.status == NOT_GRADED else dict.fromkeys(self.of, 0.0)
        graded = {number: one.points for number, one in self.exercises.items()}
        by_hand = {c.exercise: c.points for c in self.changes if c.points is not None}
        return without | graded | by_hand

    @property
    def is_whole(self) -> bool:
        """Return whether every exercise has its points."""
        return self.points.keys() == self.of.keys()

    @property
    def total(self) -> float:
        """Return all points, minus the points that are lost for being late."""
        return round(sum(self.points.values()) * (1 - self.lateness.lost), 2)

    @property
    def comment(self) -> str:
        """Return the instructor's comments."""
        told = [f"{c.exercise}: {c.comment}" if c.exercise else c.comment for c in self.changes
                if c.comment]  # fmt: skip
        return "; ".join(told)

    @property
    def summary(self) -> str:
        """Return the reason for the grade, in one line."""
        parts = [self.reason] if self.reason else []
        parts += self.submission.notes
        for number, one in self.exercises.items():
            why = " ".join(filter(None, [one.status, f"({one.reason})" * bool(one.reason)]))
            parts += [f"{number} {why}"] if one.points < one.of else []
            parts += [f"{number}: {note}" for note in one.notes]
        return "; ".join(parts)


def grades(rows: Sequence[Row], exercises: Sequence[str]) -> str:
    """grades.csv."""
    head = ["id", *exercises, "total", "of", "quizzes", "late", "status", "reason", "comment"]
    return _csv([*head, "tier"], (
        [row.id, *(_number(row.points.get(n)) for n in exercises), _total(row),
         _number(sum(row.of.values())), row.quizzes, str(row.lateness), row.status, row.summary,
         row.comment, row.tier]
        for row in rows
    ))  # fmt: skip


def by_exercise(rows: Sequence[Row], exercises: Sequence[str]) -> str:
    """exercises.csv."""
    head = ["id", "exercise", "points", "of", "status", "reason", "relies on the ranks' own record"]
    return _csv([*head, "tier"], (
        [row.id, number, _number(row.points[number]), _number(row.of[number]), one.status,
         one.reason, "yes" if one.rests_on_ranks_word else "", one.tier]
        for row in rows for number in exercises if (one := row.exercises.get(number))
    ))  # fmt: skip


def for_canvas(rows: Sequence[Row], title: str) -> str:
    """Return grades_canvas.csv. Canvas finds learners by the ID that is in its file names.

    An empty cell changes nothing in Canvas.
    """
    of = _number(sum(rows[0].of.values())) if rows else ""
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", title]
    lines = [["Points Possible", "", "", "", "", of]]
    lines += [[row.id, row.submission.user, "", "", "", _total(row)] for row in rows]
    return _csv(head, lines)


def for_nbgrader(rows: Sequence[Row], title: str) -> str:
    """Return grades_nbgrader.csv, as `nbgrader export` writes it."""
    head = ["assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email",
            "raw_score", "late_submission_penalty", "score", "max_score"]  # fmt: skip
    lines = []
    for row in rows:
        if not row.is_whole:
            continue
        raw = round(sum(row.points.values()), 2)
        when = row.submission.when.isoformat(" ") if row.submission.when else ""
        penalty, of = raw - row.total, sum(row.of.values())
        lines.append(
            [title, "", when, row.id, "", "", "", *map(_number, (raw, penalty, row.total, of))]
        )
    return _csv(head, lines)


def _csv(head, lines):
    return csv_text(head, ([_on_one_line(str(cell)) for cell in line] for line in lines))


def _on_one_line(text):
    return "".join(c if c.isprintable() else " " for c in text)[:_LONGEST_CELL]


def _total(row):
    return _number(row.total if row.is_whole else None)


def _number(points):
    return "" if points is None else f"{round(points, 2):g}"

"""The grades of a class: a row for each submission, and tables of these rows.

    grades.csv            id, each exercise and written question, total, late, status, reason,
                          comment, tier
    exercises.csv         a row for each submission and exercise or question, with what was found
    grades_canvas.csv     for Canvas's import of grades
    grades_nbgrader.csv   with the columns of `nbgrader export`

A cell that a spreadsheet would read as a formula gets an apostrophe. Equal grades give equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lablib.grading.intake.submissions import Submission
from lablib.grading.results.lateness import Lateness
from lablib.grading.results.overrides import Override
from lablib.grading.results.spreadsheet import csv_text
from lablib.grading.trial.grade_exercise import Graded
from lablib.teach.written_questions import WrittenQuestion

GRADED, NOT_GRADED = "graded", "not graded"
TO_READ = "to be read"
READ = "read"
NOT_WRITTEN = "not written"
_LONGEST_CELL = 1000


@dataclass(frozen=True)
class Written:
    """A learner's answer to a written question.

    text   "" if there is none
    note   what the instructor should know about it
    """

    question: WrittenQuestion
    text: str = ""
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One submission's grade.

    status     GRADED, or why there is no grade: missing, refused, unreadable; NOT_GRADED, if at
               least one exercise is not graded yet: then it has no points, and the row has no
               total; TO_READ, if the same is true of a written answer
    exercises  the graded exercises by number
    of         the points of all exercises and written questions by number
    written    the written answers by number
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
    written: dict[str, Written] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.submission.id

    @cached_property
    def points(self) -> dict[str, float]:
        """Return the points of all that is graded; the instructor's points take precedence."""
        without = {} if self.status == NOT_GRADED else dict.fromkeys(self.of, 0.0)
        graded = {number: one.points for number, one in self.exercises.items()}
        found = without | graded | self.by_hand
        return {number: found[number] for number in found if number not in self.to_read}

    @property
    def by_hand(self) -> dict[str, float]:
        """Return the points that the instructor gave, by number of exercise or question."""
        return {c.exercise: c.points for c in self.changes if c.points is not None}

    @property
    def to_read(self) -> list[str]:
        """Return the numbers of the written answers that have no points yet."""
        return [n for n, one in self.written.items() if one.text and n not in self.by_hand]

    def state_of(self, number: str) -> str:
        """Return the state of a written answer: TO_READ, READ or NOT_WRITTEN."""
        if number in self.by_hand:
            return READ
        return TO_READ if self.written[number].text else NOT_WRITTEN

    @property
    def is_whole(self) -> bool:
        """Return whether every exercise and every written answer has its points."""
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
        parts += [f"{number} {self.state_of(number)}" for number in self.written
                  if number not in self.by_hand]  # fmt: skip
        parts += [f"{number}: {one.note}" for number, one in self.written.items() if one.note]
        parts += [f"{number}: points by hand" for number in self.by_hand]
        return "; ".join(parts)


def grades(rows: Sequence[Row], numbers: Sequence[str]) -> str:
    """Return grades.csv, with a column for each exercise and written question."""
    head = ["id", *numbers, "total", "of", "quizzes", "late", "status", "reason", "comment"]
    return _csv([*head, "tier"], (
        [row.id, *(_cell(row, number) for number in numbers), _total(row),
         _number(sum(row.of.values())), row.quizzes, str(row.lateness), row.status, row.summary,
         row.comment, row.tier]
        for row in rows
    ))  # fmt: skip


def by_exercise(rows: Sequence[Row]) -> str:
    """Return exercises.csv."""
    head = ["id", "exercise", "points", "of", "status", "reason", "points by hand",
            "relies on the ranks' own record", "tier"]  # fmt: skip
    return _csv(head, (line for row in rows for line in _lines(row)))


def _lines(row):
    for number, of in row.of.items():
        if graded := row.exercises.get(number):
            found = [graded.status, graded.reason]
            rest = ["yes" if graded.rests_on_ranks_word else "", graded.tier]
        elif written := row.written.get(number):
            found = [row.state_of(number), written.note]
            rest = ["", ""]
        else:
            continue
        by_hand = "yes" if number in row.by_hand else ""
        points = _number(row.points.get(number))
        yield [row.id, number, points, _number(of), *found, by_hand, *rest]


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


def _cell(row, number):
    return TO_READ if number in row.to_read else _number(row.points.get(number))


def _total(row):
    return _number(row.total if row.is_whole else None)


def _number(points):
    return "" if points is None else f"{round(points, 2):g}"

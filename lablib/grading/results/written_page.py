"""Written answers as HTML: the instructor's page, and the part of a learner's feedback page.

The instructor's page has all answers to one question one after the other, because they are graded
more fairly in this order than learner by learner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lablib.grading.results import html_page
from lablib.grading.results.gradebook import NOT_WRITTEN, READ, TO_READ, Row
from lablib.teach.written_questions import WrittenQuestion
from lablib.teach.written_text import JOINERS, MOST_CHARACTERS

_HOW = (
    "To give points, open overrides.csv in this folder: it has a row for each answer that is to be "
    "read. Write the points and, if you like, a comment for the learner; then type the same "
    "command again."
)
_FOR_LEARNERS = {TO_READ: "your instructor will read this answer", READ: "read"}
_LONGEST = MOST_CHARACTERS + 100


def page(rows: Sequence[Row], lab: str) -> str:
    """Return the instructor's page: each question with its rubric and all answers to it."""
    parts = [f"<p>{_HOW}</p>"]
    for number, one in rows[0].written.items() if rows else ():
        parts += _heading(one.question)
        parts += _question(one.question)
        for row in rows:
            parts += _answer(row, number)
        without = [row.id for row in rows if row.state_of(number) == NOT_WRITTEN]
        if without:
            parts.append(
                f"<h3>{NOT_WRITTEN}</h3><p>{html_page.text(', '.join(without), 20_000)}</p>"
            )
    return html_page.page(f"Lab {lab}: written answers", "\n".join(parts))


def for_learner(row: Row, number: str) -> Iterator[str]:
    """Yield the part of the learner's page about one written question."""
    one, state = row.written[number], row.state_of(number)
    yield from _heading(one.question)
    points = f"{row.points[number]:g} of " if number in row.points else ""
    yield (f"<p>{points}{one.question.points:g} points: "
           f"{_FOR_LEARNERS.get(state, state)}</p>")  # fmt: skip
    yield from by_hand(row, number)
    yield f"<p>{html_page.text(one.note)}</p>" * bool(one.note)
    yield from _question(one.question)
    if one.text:
        yield f"<p>Your answer:</p>{_text(one.text)}"


def by_hand(row: Row, number: str) -> Iterator[str]:
    """Yield what the instructor has changed in an exercise or a written answer."""
    for change in row.changes:
        if change.exercise == number:
            points = "the points were set by hand. " if change.points is not None else ""
            yield f"<p><b>Your instructor:</b> {points}{html_page.text(change.comment)}</p>"


def _heading(question: WrittenQuestion):
    yield f"<h2>{html_page.text(question.number)} · {html_page.text(question.title)}</h2>"


def _question(question):
    yield from (f"<p>{html_page.text(part)}</p>" for part in question.question.split("\n\n"))
    rubric = (f"<li>{html_page.text(point.text)} ({point.points:g})</li>"
              for point in question.rubric)  # fmt: skip
    yield f"<p>What counts, of {question.points:g} points:</p><ul>{''.join(rubric)}</ul>"


def _answer(row, number):
    if row.state_of(number) == NOT_WRITTEN:
        return
    told = row.state_of(number)
    if number in row.by_hand:
        told = f"{row.points[number]:g} of {row.of[number]:g} points, by hand"
    yield f"<h3>{html_page.text(row.id)}</h3><p>{told}</p>"
    yield _text(row.written[number].text)
    comments = (change.comment for change in row.changes if change.exercise == number)
    yield from (f"<p><b>Comment:</b> {html_page.text(words)}</p>" for words in comments if words)


def _text(answer):
    shown = html_page.text(answer, _LONGEST, keep=f"\n{JOINERS}")
    return f'<div class="answer">{shown}</div>' * bool(answer)

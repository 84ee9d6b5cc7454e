"""The feedback page of a learner, which says for each exercise which claims hold.

For a hidden case, the page shows each claim's text, without numbers, and whether it holds. It shows
nothing else, because the values, the text of an exception, and even a line number could reveal the
inputs of the case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lablib.grading.intake.answers import NOT_ATTEMPTED
from lablib.grading.results import html_page, written_page
from lablib.grading.results.gradebook import GRADED, NOT_GRADED, TO_READ, Row
from lablib.grading.trial.grade_exercise import OK, UNJUDGED, Graded, GradedCase

MOST_BYTES = 900_000
_RULE = (
    "Half of an exercise's points are for cases that you know, and half for hidden cases. In each "
    "half, half of the points are for single claims; you get the rest if all claims hold."
)
_FIELD = 300
# A digit within a word, as in 1F1B, belongs to a name.
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d(?:[\d.,]*\d)?(?:e[-+]?\d+)?(?!\w)")
_WHAT_HAPPENED = {
    "error": "it ended with an error",
    "crash": "a process ended before it returned",
    "timeout": "it took longer than the time limit",
    "hang": "the ranks waited for one another",
    "cpu": "it used more processor time than is allowed",
    "oom": "it used more memory than is allowed",
    "processes": "it started more processes than is allowed",
    "disk": "it wrote more data than is allowed",
    "output": "it printed more than is allowed",
    "forged": "a rank sent a message that no rank of the kit sends",
    UNJUDGED: "it was not judged, because comparing earlier values took too long",
    NOT_ATTEMPTED: NOT_ATTEMPTED,
}


def feedback(row: Row, lab: str, titles: Mapping[str, str]) -> str:
    """Return the page of one submission, under 1 MB.

    titles   the exercises' titles by number
    """
    full = _page(row, lab, titles, _case)
    if len(full.encode()) <= MOST_BYTES:
        return full
    return _page(row, lab, titles, _case_in_short)


def _page(row, lab, titles, show_case):
    of = sum(row.of.values())
    so_far = "" if row.is_whole else ", not all graded yet"
    parts = [f"<p><b>{row.total:g} of {of:g} points</b>{so_far} · {html_page.text(row.id)}</p>"]
    parts += _asides(row)
    if row.status not in (GRADED, NOT_GRADED, TO_READ):
        why = f"{html_page.text(row.status)}: {html_page.text(row.reason)}"
        parts.append(f'<p class="wrong">{why}</p>')
    parts.append(f'<p class="aside">{html_page.text(_RULE)}</p>')
    for number, title in titles.items():
        parts += _exercise(row, number, title, show_case)
    for number in row.written:
        parts += written_page.for_learner(row, number)
    return html_page.page(f"Lab {lab}", "\n".join(parts))


def _asides(row):
    told = [str(row.lateness)] if row.lateness.days else []
    told += [f"Quizzes: {row.quizzes}"] if row.quizzes else []
    told += row.submission.notes
    told += [change.comment for change in row.changes if change.comment and not change.exercise]
    return [f"<p>{html_page.text(words)}</p>" for words in told]


def _exercise(row, number, title, show_case):
    graded = row.exercises.get(number)
    yield f"<h2>{html_page.text(number)} · {html_page.text(title)}</h2>"
    status = graded.status if graded else row.status
    points = f"{row.points[number]:g} of " if number in row.points else ""
    yield f"<p>{points}{row.of[number]:g} points: {html_page.text(status)}</p>"
    yield from written_page.by_hand(row, number)
    if graded:
        yield from (f'<p class="aside">{html_page.text(note, _FIELD)}</p>' for note in graded.notes)
        yield from _cases(graded, show_case)


def _cases(graded: Graded, show_case):
    if not graded.cases and graded.reason:  # nothing ran: the reason is about the source
        yield f"<p>{html_page.text(graded.reason, _FIELD)}</p>"
    if graded.status == NOT_ATTEMPTED:
        return
    hidden = 0
    for case in graded.cases:
        hidden += case.hidden
        yield show_case(case, f"Hidden case {hidden}" if case.hidden else case.name)


def _case(case: GradedCase, name: str) -> str:
    items = "".join(_claim(claim, case.hidden) for claim in case.claims)
    if case.status != OK:
        items = f'<li><b class="wrong">✗</b> {_trouble(case)}</li>'
    return f"<div>{html_page.text(name, _FIELD)}<ul>{items}</ul></div>"


def _trouble(case):
    what = html_page.text(_WHAT_HAPPENED.get(case.status, case.status))
    told = case.detail or case.reason
    return what if case.hidden or not told else f"{what}<pre>{html_page.text(told)}</pre>"


def _claim(claim, hidden):
    kind, sign, words = (
        ("right", "✓", "holds") if claim["holds"] else ("wrong", "✗", "does not hold")
    )
    details = "" if claim["holds"] or hidden else _details(claim)
    mark = f'<b class="{kind}" title="{words}">{sign}</b>'
    words = _without_numbers(claim["text"]) if hidden else claim["text"]
    return f"<li>{mark} {html_page.text(words, _FIELD)}{details}</li>"


def _without_numbers(words):
    """Remove the sizes of a hidden case, and results that follow from its inputs.

    >>> _without_numbers("every rank sends 8 messages of 1,024 B; 1F1B keeps rank 0's")
    "every rank sends … messages of … B; 1F1B keeps rank …'s"
    """
    return _NUMBER.sub("…", words)


def _details(claim):
    where = f" on rank {claim['rank']}" if claim["rank"] is not None else ""
    told = [f"{word}{where}: {claim[key]}" for key, word in (("expected", "expected"),
            ("saw", "saw")) if claim[key]]  # fmt: skip
    lines = "\n".join(html_page.text(line, _FIELD) for line in told)
    return f"<pre>{lines}</pre>" if told else ""


def _case_in_short(case, name):
    holding = sum(claim["holds"] for claim in case.claims)
    return f"<p>{html_page.text(name, _FIELD)}: {holding} of {len(case.claims)} claims hold</p>"

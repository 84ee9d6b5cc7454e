"""The class report: how the class did, which claims fail, and what the instructor should check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from lablib.grading.intake.similarity import Pair
from lablib.grading.results import html_page
from lablib.grading.results.gradebook import GRADED, TO_READ, Row
from lablib.grading.trial.isolation import UNSANDBOXED
from lablib.teach.claims import OUTSIDE, RANK, VALUES

_BINS = 10
_MOST_ROWS = 40
# The name of each kind of evidence, and what it means for the instructor.
_KINDS = {
    RANK: (
        "reported by the ranks",
        "only the ranks' own record shows it. The learner's program runs in the same process and "
        "could have forged this record. Read the answer before you rely on such a claim.",
    ),
    VALUES: (
        "returned values",
        "the answer returned the right values. Where each rank gets secret data of its own, right "
        "values prove that the ranks communicated, but not how.",
    ),
    OUTSIDE: (
        "measured outside",
        "the grader counted messages or bytes outside the sandbox, where no learner's program "
        "runs. A program cannot forge these numbers.",
    ),
}


def report(
    rows: Sequence[Row],
    lab: str,
    titles: Mapping[str, str],
    pairs: Sequence[Pair],
    left_out: Sequence[str] = (),
) -> str:
    """Return the page for the class.

    left_out   names of files that are not submissions
    """
    parts = [
        *_warning(rows),
        *_distribution(rows),
        *_exercises(rows, titles),
        *_written(rows),
        *_claims(rows),
        *_pairs(pairs),
        *_evidence(rows),
        *_needs_an_eye(rows),
        *_left_out(left_out),
    ]
    return html_page.page(f"Lab {lab}: the class", "\n".join(parts))


def _warning(rows):
    if any(row.tier == UNSANDBOXED for row in rows):
        yield (f'<p class="wrong"><b>{UNSANDBOXED}</b>: these programs ran without a sandbox. '
               "They could read and change all files that the grader can.</p>")  # fmt: skip


def _distribution(rows):
    graded = [row for row in rows if row.status in (GRADED, TO_READ)]
    states = Counter(row.status for row in rows)
    told = ", ".join(f"{times} {html_page.text(state)}" for state, times in sorted(states.items()))
    yield f"<p>{len(rows)} submissions: {told}.</p>"
    if not graded:
        return
    shares = sorted(row.total / sum(row.of[number] for number in row.points) for row in graded)
    middle = (shares[(len(shares) - 1) // 2] + shares[len(shares) // 2]) / 2
    mean = sum(shares) / len(shares)
    without = "Answers that are still to be read do not count. " * any(r.to_read for r in graded)
    yield f"<p>{without}Share of the points: mean {mean:.0%}, median {middle:.0%}.</p>"
    bins = Counter(min(_BINS - 1, int(share * _BINS)) for share in shares)
    yield _bars([(f"{10 * n}–{10 * n + 10} %", bins[n]) for n in range(_BINS)])


def _bars(counts):
    """Draw a histogram in SVG, with a text alternative."""
    most = max(count for _, count in counts)
    high = 120
    wide = 60
    told = ", ".join(f"{label}: {count}" for label, count in counts)
    bars = "".join(
        f'<rect x="{n * wide + 4}" y="{20 + high - high * count / most:.1f}" width="{wide - 8}" '
        f'height="{high * count / most:.1f}" fill="#0072B2"/>'
        f'<text x="{n * wide + wide / 2}" y="{14 + high - high * count / most:.1f}" '
        f'text-anchor="middle">{count or ""}</text>'
        f'<text x="{n * wide + wide / 2}" y="{high + 36}" text-anchor="middle">{label}</text>'
        for n, (label, count) in enumerate(counts)
    )
    width = wide * len(counts)
    return (f'<svg viewBox="0 0 {width} {high + 44}" role="img" aria-label="Submissions by share '
            f'of the points. {told}" style="max-width: {width}px; width: 100%" font-size="11" '
            f'fill="currentColor">{bars}</svg>')  # fmt: skip


def _exercises(rows, titles):
    yield "<h2>Exercises</h2>"
    lines = []
    for number, title in titles.items():
        found = [row.exercises[number] for row in rows if number in row.exercises]
        states = Counter(one.status for one in found)
        share = sum(one.points for one in found) / sum(one.of for one in found) if found else 0
        told = ", ".join(f"{times} {state}" for state, times in states.most_common())
        lines.append([number, title, f"{share:.0%}", told])
    yield html_page.table(["exercise", "", "points", "how they ended"], lines, numbers=[2])


def _written(rows):
    """Say for each written question how many answers are still to be read."""
    lines = []
    for number, one in rows[0].written.items() if rows else ():
        states = Counter(row.state_of(number) for row in rows)
        told = ", ".join(f"{times} {state}" for state, times in states.most_common())
        lines.append([number, one.question.title, told])
    if lines:
        yield '<h2>Written answers</h2><p><a href="written.html">Read them here.</a></p>'
        yield html_page.table(["question", "", "how far"], lines)


def _claims(rows):
    """Show which claims fail most often in the answers that were tried."""
    tried, failing = Counter(), Counter()
    for row in rows:
        for number, graded in row.exercises.items():
            found: dict[str, bool] = {}
            for case in graded.cases:
                for claim in case.claims:
                    found[claim["text"]] = found.get(claim["text"], True) and claim["holds"]
            tried.update((number, text) for text in found)
            failing.update((number, text) for text, holds in found.items() if not holds)
    if not failing:
        return
    yield "<h2>Claims that fail most often</h2>"
    order = sorted(failing, key=lambda key: (-failing[key] / tried[key], -failing[key], key))
    lines = [[*key, f"{failing[key]} of {tried[key]}"] for key in order[:_MOST_ROWS]]
    yield html_page.table(["exercise", "claim", "fails for"], lines, numbers=[2])


def _pairs(pairs):
    if not pairs:
        return
    yield "<h2>Similar answers</h2><p>These programs agree except for names, comments and "
    yield "constants. This is a reason to look at them, not a proof of copying.</p>"
    lines = []
    for pair in pairs[:_MOST_ROWS]:
        where = "the same file" if pair.same_file else ", ".join(pair.exercises)
        lines.append([*pair.ids, where, f"{pair.shared:.0%}"])
    yield html_page.table(["", "", "in", "shared"], lines, numbers=[3])
    if len(pairs) > _MOST_ROWS:
        yield f"<p>and {len(pairs) - _MOST_ROWS} more pairs</p>"


def _evidence(rows):
    """Show the evidence for each claim that holds; evidence that can be forged comes first."""
    times = Counter(
        found
        for row in rows
        for number, graded in row.exercises.items()
        for found in {(claim["evidence"], number, claim["text"]) for case in graded.cases
                      for claim in case.claims if claim["holds"]}
    )  # fmt: skip
    if not times:
        return
    yield "<h2>Evidence for the claims</h2>"
    legend = (f"<li><b>{kind}</b>: {means}</li>" for kind, means in _KINDS.values())
    yield f"<ul>{''.join(legend)}</ul>"
    order = sorted(times, key=lambda key: (list(_KINDS).index(key[0]), key[1:]))
    lines = [[*claim, _KINDS[kind][0], times[kind, *claim]] for kind, *claim in order]
    yield html_page.table(["exercise", "claim", "seen how", "holds for"], lines, numbers=[3])


def _needs_an_eye(rows):
    lines = [
        [row.id, row.status, html_page.begins(row.summary, 300)]
        for row in rows
        if row.status not in (GRADED, TO_READ)
        or row.submission.notes
        or any(graded.notes for graded in row.exercises.values())
        or any(written.note for written in row.written.values())
    ]
    if lines:
        yield "<h2>To look at</h2>"
        yield html_page.table(["", "", "why"], lines)


def _left_out(names):
    if names:
        shown = ", ".join(html_page.text(name) for name in names[:_MOST_ROWS])
        more = f" and {len(names) - _MOST_ROWS} more" if len(names) > _MOST_ROWS else ""
        yield f"<h2>Other files</h2><p>These are not submissions: {shown}{more}.</p>"

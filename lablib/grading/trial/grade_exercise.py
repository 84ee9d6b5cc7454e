"""Grade one exercise of one submission: try its cases, judge its claims, and give points.

Half of the points are for the public cases, and half for hidden cases. `claims.earned` says how
each half is earned. Everything here is plain data, so that it can be stored, sent and compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from lablib import errors
from lablib.box.bounded_calls import bounded
from lablib.grading.intake.answer_on_rank import PickledObserver
from lablib.grading.intake.answers import FOUND, NOT_ATTEMPTED, Answer
from lablib.grading.intake.candidates import FoundAnswers
from lablib.grading.intake.notebook_file import Cell
from lablib.grading.trial.hidden_cases import hidden_cases
from lablib.grading.trial.isolation import SLOW, Outcome
from lablib.grading.trial.scrubbing import scrubbed
from lablib.grading.trial.secret_seed import derived
from lablib.teach.checks import judged
from lablib.teach.claims import RANK, Claim, earned, share
from lablib.teach.exercise import Case, Exercise
from lablib.teach.observation import Seen

RIGHT = "right"
PARTLY = "partly right"
WRONG = "wrong"
OK = "ok"
UNJUDGED = "not judged"
JUDGE_S = 10  # computing; right answers take 0.1 s
_OUT_OF_TIME = f"judging took longer than {JUDGE_S} s"
_LONGEST = 2000
_SHOWN_FIELDS = ("text", "holds", "expected", "saw", "rank", "evidence")


@dataclass(frozen=True)
class GradedCase:
    """A case with its outcome and claims, as plain data.

    answer   which of the exercise's answers
    status   "ok", or why nothing could be judged
    reason   the same in one line, without any text from the learner
    detail   more details, with text from the learner
    """

    name: str
    answer: int
    hidden: bool
    share: float
    status: str
    reason: str = ""
    detail: str = ""
    claims: tuple[dict, ...] = ()


@dataclass(frozen=True)
class Graded:
    """An exercise's grade. `status`: RIGHT, PARTLY, WRONG, NOT_ATTEMPTED, or what went wrong."""

    exercise: str
    points: float
    of: float
    status: str
    reason: str = ""
    notes: tuple[str, ...] = ()
    cases: tuple[GradedCase, ...] = ()
    tier: str = ""

    def plain(self) -> dict:
        return asdict(self)

    @classmethod
    def of_plain(cls, plain: dict) -> Graded:
        """Return the object that `plain` turned into a dict."""
        cases = tuple(
            GradedCase(**case | {"claims": tuple(case["claims"])}) for case in plain["cases"]
        )
        return cls(**plain | {"notes": tuple(plain["notes"]), "cases": cases})

    @property
    def rests_on_ranks_word(self) -> bool:
        """Return whether points were given for claims that only the ranks' own record shows."""
        claims = [claim for case in self.cases if case.share for claim in case.claims]
        return any(claim["holds"] and claim["evidence"] == RANK for claim in claims)


def cases_of(exercise: Exercise, seed: int) -> list[tuple[Case, bool]]:
    """Return the cases for grading, and whether each is hidden."""
    public, hidden = (derived(seed, exercise.number, half) for half in ("public", "hidden"))
    known = [(case, False) for case in exercise.module.cases(public)]
    return known + [(case, True) for case in hidden_cases(exercise, hidden)]


def untried(exercise: Exercise, answers: Sequence[Answer], tier: str) -> Graded | None:
    """Return the grade if no answer can be tried; None if one can."""
    if any(answer.status == FOUND for answer in answers):
        return None
    worst = next((a for a in answers if a.status != NOT_ATTEMPTED), answers[0])
    notes = tuple(note for answer in answers for note in answer.notes)
    return Graded(
        exercise.number, 0.0, exercise.points, worst.status, worst.reason, notes, tier=tier
    )


def grade(
    exercise: Exercise,
    answers: Sequence[Answer],
    cells: tuple[Cell, ...],
    seed: int,
    finder: FoundAnswers,
) -> Graded:
    """Try the answers in all cases where `finder` finds them, and judge the results.

    cells   the notebook's cells, which define the answers

    This process may compute for at most JUDGE_S seconds, whatever the ranks return. The remaining
    cases are then not tried. The limit holds for each exercise, not for the whole submission, so
    that the grade of an answer does not depend on other answers.
    """
    given_up = untried(exercise, answers, finder.place.tier)
    if given_up:
        return given_up
    tried: dict[int, GradedCase] = {}
    notes = [note for answer in answers for note in answer.notes]
    begun_s = time.process_time()
    cases = list(enumerate(cases_of(exercise, seed)))
    for which, answer in enumerate(answers):
        own = [(at, *case) for at, case in cases if case[0].answer == which]
        trial = Trial(exercise, which, answer, cells, finder, begun_s + JUDGE_S)
        tried |= trial.best(own)
        notes += trial.notes
    in_order = [tried[at] for at in sorted(tried)]
    return _together(exercise, in_order, tuple(dict.fromkeys(notes)), finder.place.tier)


@dataclass
class Trial:
    """The trial of one of an exercise's functions.

    If a notebook has several candidates, such as a draft below the function that was checked, the
    best one counts.
    """

    exercise: Exercise
    which: int
    answer: Answer
    cells: tuple[Cell, ...]
    finder: FoundAnswers
    until_s: float  # processor seconds of this process
    notes: tuple[str, ...] = ()

    def best(self, cases: Sequence[tuple[int, Case, bool]]) -> dict[int, GradedCase]:
        """Return the graded cases by their place in the exercise."""
        by_framework = {case.framework: self._candidates(case) for _, case, _ in cases}
        best: dict[int, GradedCase] = {}
        for at in range(max(map(len, by_framework.values()))):
            chosen = {name: found[min(at, len(found) - 1)] for name, found in by_framework.items()}
            tried = self._tried(cases, chosen)
            if not best or _earned(tried.values()) > _earned(best.values()):
                best = tried
                self.notes = tuple(note for one in chosen.values() for note in one.notes)
            if _earned(best.values()) == 1 or any(one.status in SLOW for one in tried.values()):
                break
        return best

    def _candidates(self, case):
        return self.finder.candidates(
            self.cells, case.framework, self.exercise.number, self.which, self.answer
        )

    def _tried(self, cases, chosen):
        tried, slow = {}, None
        for at, case, hidden in cases:
            if time.process_time() > self.until_s:
                named = case.name, case.answer, hidden
                tried[at] = GradedCase(*named, 0.0, UNJUDGED, _OUT_OF_TIME)
                continue
            outcome = slow or self._outcome(case, chosen[case.framework])
            if outcome.status in SLOW:
                slow = outcome
            tried[at] = _judged(self.exercise, case, hidden, outcome)
        return tried

    def _outcome(self, case, candidate):
        if candidate.status != FOUND:
            return Outcome(Seen(problem=candidate.status), candidate.status, candidate.reason)
        observe = self.exercise.module.observe
        function = PickledObserver(observe, candidate.function, self.cells)
        outcome = self.finder.place.try_case(case, function)
        if outcome.status == errors.NOT_ATTEMPTED:
            return Outcome(outcome.seen, NOT_ATTEMPTED)
        return outcome


def _judged(exercise, case, hidden, outcome):
    tried = case.name, case.answer, hidden
    if outcome.status != OK:
        return GradedCase(
            *tried, 0.0, outcome.status, _short(outcome.reason), _short(outcome.detail)
        )
    try:
        with bounded():
            claims = judged(exercise, case, outcome.seen)
    except Exception as error:  # a learner's values can be anything, so any error is possible
        name = type(error).__name__
        claims = (Claim("the answer has the form that the exercise asks for", False, saw=name),)
    plain = tuple({key: _plain(getattr(c, key)) for key in _SHOWN_FIELDS} for c in claims)
    return GradedCase(*tried, share(claims), OK, claims=plain)


def _together(exercise, tried, notes, tier):
    points = round(exercise.points * _earned(tried), 2)
    troubles = [one for one in tried if one.status != OK]
    status, reason = RIGHT, ""
    if all(one.status == NOT_ATTEMPTED for one in tried):
        status = NOT_ATTEMPTED
    elif troubles:
        first = next((one for one in troubles if one.status != NOT_ATTEMPTED), troubles[0])
        status, reason = first.status, first.reason
    elif points < exercise.points:
        status = PARTLY if points else WRONG
        reason = _first_that_fails(tried)
    notes = tuple(map(_short, notes))  # some hold words from the learner's process
    return Graded(
        exercise.number, points, exercise.points, status, reason, notes, tuple(tried), tier
    )


def _earned(tried: Iterable[GradedCase]):
    tried = list(tried)
    halves = [[one for one in tried if one.hidden == hidden] for hidden in (False, True)]
    parts = [earned((one.answer, one.share) for one in half) for half in halves if half]
    return sum(parts) / len(parts)


def _first_that_fails(tried):
    for one in tried:
        for claim in one.claims:
            if not claim["holds"]:
                return f"does not hold: {claim['text']}"
    return ""


def _short(text):
    # Half a surrogate pair cannot be written to a file.
    text = scrubbed(text.encode("utf-8", "backslashreplace").decode())
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def _plain(value):
    """Convert NumPy's numbers and truth values, which JSON does not know."""
    value = value.item() if hasattr(value, "item") else value
    return _short(value) if isinstance(value, str) else value

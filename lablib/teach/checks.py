"""`lab.check`: try an answer in its cases, and say for each claim whether it holds."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lablib.cluster import definitions
from lablib.cluster.cluster import Cluster
from lablib.cluster.engine import messages
from lablib.cluster.failures import ClusterHangs, RankFailed
from lablib.errors import NOT_ATTEMPTED, LabError
from lablib.progress_bars import bar
from lablib.teach import exercise as exercises
from lablib.teach import progress
from lablib.teach.claims import Claim, earned, first_failing, share
from lablib.teach.exercise import Case, Exercise, Observer
from lablib.teach.observation import Seen, Way

_SEED = 0
_CANNOT_JUDGE = "the answer has the form that the exercise asks for"
_HUNG = "The answer ran too long, or the ranks waited for one another."


@dataclass(frozen=True)
class Tried:
    """One case of an exercise, what was observed of the answer, and the claims about it."""

    case: Case
    seen: Seen
    claims: tuple[Claim, ...] = ()

    @property
    def share(self) -> float:
        """Return the part of the case's points that the answer earned, 0 to 1."""
        return 0.0 if self.seen.problem else share(self.claims)

    @property
    def attempted(self) -> bool:
        return self.seen.attempted


@dataclass(frozen=True)
class Result:
    """The result of a check: `points` of `of`, and the claims of each case.

    tries   how often this exercise has been checked, including this time; it decides which hint
            is shown
    """

    exercise: Exercise
    tried: tuple[Tried, ...]
    tries: int = 1
    shown_in: int | None = None

    @property
    def of(self) -> float:
        return self.exercise.points

    @property
    def points(self) -> float:
        """Return the points of all cases, rounded to hundredths."""
        return round(self.of * earned((one.case.answer, one.share) for one in self.tried), 2)

    @property
    def attempted(self) -> bool:
        return any(one.attempted for one in self.tried)

    @property
    def hint(self) -> str:
        """Return a hint for the first claim that fails, or for a hang; another after two tries."""
        for one in self.tried:
            if one.seen.advice:
                advice = one.seen.advice
                return f"{advice[0].upper()}{advice[1:]}."
            failing = first_failing(one.claims)
            if failing and failing.hints:
                return failing.hints[min(self.tries, len(failing.hints)) - 1]
        return ""

    def __repr__(self):
        from lablib.teach.result_shown import as_text

        return as_text(self)

    def _repr_html_(self):
        from lablib.teach.result_shown import as_html

        return as_html(self)

    def _ipython_display_(self):
        from IPython.display import display

        if self.shown_in is None or self.shown_in != _cell():
            display(_Shown(self))


class _Shown:
    """Show a result again, because its own `_ipython_display_` shows nothing a second time."""

    def __init__(self, result):
        self._repr_html_ = result._repr_html_
        self._text = repr(result)

    def __repr__(self):
        return self._text


def check(number: str, *answers: object) -> Result:
    """Check your answer to exercise `number`, and show for each claim whether it holds.

    answers   the function that you wrote; for an exercise in both frameworks, one function for
              each. A missing function counts as not attempted

    A wrong or a missing answer raises no error. Raises LabError if there is no such exercise.
    """
    exercise = exercises.find(number)
    if len(answers) > len(exercise.answers):
        raise LabError(
            f"You gave more answers than exercise {number} asks for.",
            saw=f"{len(answers)} answers",
            do=f"give {' and '.join(exercise.names)}",
        )
    before = progress.kept("exercise", number)
    tried = tuple(try_all(exercise, exercise.module.cases(_SEED), answers))
    result = Result(exercise, tried, before.get("tries", 0) + 1, _cell())
    if result.attempted:
        _remember(result, before)
    _show(result)
    return result


def try_all(exercise: Exercise, cases: Sequence[Case], answers: Sequence) -> Iterator[Tried]:
    """Try the answers in one case after the other on clusters of this computer, with a bar."""
    tried: list[Tried] = []
    with bar(f"checking {exercise.number}", len(cases)) as shown:
        for case in cases:
            tried.append(try_case(exercise, case, _way(exercise, case, answers, tried)))
            shown.update()
            yield tried[-1]


def try_case(exercise: Exercise, case: Case, way: Way) -> Tried:
    """Try one case in the given way, and judge what is seen."""
    seen = way(case)
    claims = () if seen.problem else judged(exercise, case, seen)
    return Tried(case, seen, claims)


def judged(exercise: Exercise, case: Case, seen: Seen) -> tuple[Claim, ...]:
    """Return the claims, or one failing claim if the judge cannot read the values at all."""
    try:
        # Comparing arrays gives an array, which is neither true nor false.
        claims = exercise.module.judge(case, seen)
        return tuple(replace(claim, holds=bool(claim.holds)) for claim in claims)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError,
            RecursionError, LabError) as error:  # fmt: skip
        return (Claim(_CANNOT_JUDGE, False, saw=f"{type(error).__name__}: {error}"),)


def _way(exercise, case, answers, before) -> Way:
    """Return how to try this case; do not run an impossible answer, or one that hung before."""
    which = case.answer
    hung = next((one for one in before if one.seen.advice and one.case.answer == which), None)
    if which >= len(answers):
        missing = Seen(problem=f"{exercise.names[which]}: {NOT_ATTEMPTED}", attempted=False)
        return lambda case: missing
    problem = exercises.misfit(exercise.answers[which], answers[which]) or _oversize(answers[which])
    if problem:
        return lambda case: Seen(problem=problem)
    if hung:
        return lambda case: hung.seen
    return lambda case: on_this_computer(case, Observer(exercise.module.observe, answers[which]))


def _oversize(answer):
    with contextlib.suppress(Exception):  # the cluster explains what cannot be sent
        return exercises.oversize(definitions.packed(answer))
    return ""


def on_this_computer(case: Case, observer: Observer) -> Seen:
    """Try the case on a cluster of this computer."""
    try:
        run = cluster_of(case).run(observer, own=case.given())
    except ClusterHangs as error:
        return Seen(problem=f"{_HUNG}\n{error.saw}", advice=error.advice)
    except RankFailed as error:
        attempted = error.cause != messages.UNWRITTEN
        return Seen(problem=f"{error.wrong}\n{error.saw}", attempted=attempted)
    return Seen(tuple(run.values), run)


def cluster_of(case: Case) -> Cluster:
    """Return the cluster on this computer that a case asks for."""
    return Cluster(
        None if case.roles else case.ranks, nodes=case.nodes, roles=case.roles,
        framework=case.framework, hardware=case.hardware, threads=case.threads,
        timeout_s=case.timeout_s,
    )  # fmt: skip


def _remember(result, before):
    entry = {"points": max(result.points, before.get("points", 0)), "of": result.of}
    progress.keep("exercise", result.exercise.number, entry | {"tries": result.tries})


def _show(result):
    if _cell() is None:
        print(result)
        return
    from IPython.display import display

    display(_Shown(result))
    picture = getattr(result.exercise.module, "picture", None)
    shown = next((one for one in result.tried if one.seen.run and first_failing(one.claims)), None)
    if picture and shown:
        display(picture(shown.case, shown.seen))


def _cell():
    """Return the number of the notebook's running cell; None outside a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell.execution_count if shell is not None and hasattr(shell, "kernel") else None

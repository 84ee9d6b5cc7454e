"""A forged record of the right technique does not earn the points for it.

The answers have the right values but use another technique, which is measured outside the ranks.
"""

from __future__ import annotations

from dataclasses import replace

import cloudpickle
import course
import pytest
from hostile import forged_records
from hostile.forged_records import FORGED

from lablib.grading import pipeline
from lablib.grading.trial import grade_exercise, isolation
from lablib.grading.trial.hidden_cases import hidden_cases
from lablib.teach import exercise
from lablib.teach.claims import OUTSIDE, RANK, earned
from lablib.teach.exercise import Observer

pytestmark = [pytest.mark.needs("bubblewrap"), pytest.mark.timeout(120)]
cloudpickle.register_pickle_by_value(forged_records)


@pytest.fixture(scope="module")
def place():
    place = isolation.Boxed(1, "bubblewrap")
    yield place
    place.close()


def judged(place, one, case, answer):
    outcome = place.try_case(case, Observer(one.module.observe, answer))
    assert outcome.status == "ok", outcome
    return grade_exercise._judged(one, case, True, outcome)


def part_earned(place, number, answer, **changes):
    """Return the earned share of the points of the hidden cases in torch."""
    one = exercise.find(number)
    cases = [replace(case, **changes) for case in hidden_cases(one, 7) if case.framework == "torch"]
    found = [judged(place, one, case, answer) for case in cases]
    return earned((case.answer, case.share) for case in found)


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_record_earns_no_points_for_the_technique(place, name):
    assert part_earned(place, name.partition(",")[0], FORGED[name]) < 0.5


@pytest.mark.parametrize("number", ["1.2", "1.3", "3.2"])
def test_that_claim_can_fail(place, number):
    """If nothing is measured outside, the same answer earns all points."""
    assert part_earned(place, number, FORGED[number], relay=False) == 1


IN_TENSORFLOW = [
    ("1.2", "every worker gets everybody's gradient"),
    ("3.4", "gathers every gradient"),
    ("4.6", "all weights on every rank"),
]


@pytest.mark.parametrize("number, name", IN_TENSORFLOW)
def test_bytes_on_the_loopback_show_another_technique_in_tensorflow(place, number, name):
    """TensorFlow ranks cannot use the relay: only collectives that carry more bytes are noticed."""
    one = exercise.find(number)
    case = [case for case in hidden_cases(one, 7) if case.framework == "tensorflow"][-1]
    answer = one.hidden.WRONG[name]
    answer = answer[case.answer] if isinstance(answer, tuple) else answer
    claims = judged(place, one, case, answer).claims
    failing = [claim["evidence"] for claim in claims if not claim["holds"]]
    assert OUTSIDE in failing and set(failing) <= {OUTSIDE, RANK}, claims


# Only the rank itself can report the order of operations within it (3.5, 4.3), the sizes of its
# pieces (3.6), and where TensorFlow computes or stores something (4.6). TensorFlow's collectives do
# not pass the relay: their bytes are counted, but their names come from the ranks (1.2, 3.4).
REPORTED_BY_RANKS = {"3.4", "3.5", "3.6", "4.3", "4.6"}
LOOKS_AT_MESSAGES = (
    "seen.put_in", "seen.sent", "seen.collectives", "nothing_else(seen", "only_all_reduces("
)  # fmt: skip


def test_only_these_exercises_have_claims_that_rest_on_what_ranks_report():
    found = {one.number for one in exercise.every() if "evidence=RANK" in one.path.read_text()}
    assert found == REPORTED_BY_RANKS


@pytest.mark.parametrize("one", exercise.every(), ids=lambda one: one.number)
def test_every_hidden_case_with_claims_about_messages_measures_them_outside(one):
    if any(words in one.path.read_text() for words in LOOKS_AT_MESSAGES):
        for case in hidden_cases(one, 7):
            relayed_or_alone = case.ranks == 1 or (case.framework, case.relay) == ("torch", True)
            assert relayed_or_alone or largest_bytes(case) >= 1e6, case.name


def largest_bytes(case):
    """Return the bytes of a rank's largest array: TensorFlow's gradients are as large."""
    return max((array.nbytes for given in case.given() for array in arrays_in(given)), default=0)


def arrays_in(value):
    """Yield the arrays of plain data, also those in lists and dictionaries."""
    if isinstance(value, (dict, list, tuple)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(each)
    elif hasattr(value, "nbytes"):
        yield value


_TOUCHED = """
import builtins
from lablib.teach.claims import equal
from lablib.teach.exercise import Case
ANSWERS, TITLE, POINTS = ("touch(x)",), "Touch", 1
def cases(seed):
    return [Case("two ranks", {"x": 1}, ranks=2)]
def observe(me, answer, given):
    if me.rank == CALLS:
        answer(given.x)
    return hasattr(builtins, "TOUCHED")
def judge(case, seen):
    yield equal("rank 1 runs none of the learner's code", False, seen.values[1])
"""
# If the answer were sent to a rank as source or as a pickle, this would run.
_TOUCH = """
import builtins
class Trace:
    def __reduce__(self):
        return setattr, (builtins, "TOUCHED", True)
builtins.TOUCHED, trace = True, Trace()
def touch(x):
    return trace
"""


@pytest.mark.parametrize("calls, points", [(0, "1"), (1, "0")])
def test_a_rank_that_does_not_call_the_answer_runs_none_of_the_learners_code(
    tmp_path, calls, points
):
    root = course.make(tmp_path / "course")
    for folder in ("labs/checks", "solutions/hidden"):
        (root / folder / "9_3_touch.py").write_text(_TOUCHED.replace("CALLS", str(calls)))
    cells = course.cell(_TOUCH, "exercise-9-3")
    course.plant(tmp_path / "class", {"ann": course.of(cells)})
    (row,) = pipeline.grade(pipeline.Asked(tmp_path / "class", course.LAB, tmp_path / "out",
                                         root=root, unsafe=True))  # fmt: skip
    assert f"{row.points['9.3']:g}" == points, row.exercises["9.3"]

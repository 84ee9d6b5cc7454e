"""Judges get values that a learner's code has made, and must survive all of them."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

from lablib.box.bounded_calls import bounded
from lablib.grading.intake.answers import FOUND, Answer
from lablib.grading.intake.candidates import Candidate
from lablib.grading.trial import grade_exercise
from lablib.grading.trial.isolation import Outcome
from lablib.teach import exercise
from lablib.teach.observation import Seen

_JUDGES = """
from lablib.teach.claims import Claim
from lablib.teach.exercise import Case
ANSWERS, TITLE, POINTS = ("f()",), "Odd values", 1
def cases(seed):
    return [Case("one")]
def observe(me, answer, given):
    return answer()
def judge(case, seen):
    JUDGE
"""
ODD_VALUES = {
    "an array, which equals nothing and everything": (
        "yield Claim('equal', seen.values[0] == [1, 2])", np.array([1, 2])),
    "what takes for ever": ("while seen.values: pass\n    yield", 0),
    "what takes all memory": ("yield Claim('long', len(seen.values[0] * 10**9) == 1)", [1, 2]),
    "what is too deep": ("yield Claim('text', bool(json.loads(seen.values[0])))", "[" * 100_000),
}  # fmt: skip


def grade(one, place):
    finder = SimpleNamespace(place=place, candidates=lambda *_: [Candidate(b"")])
    return grade_exercise.grade(one, [Answer("f", FOUND)], (), 0, finder)


@pytest.mark.parametrize("kind", ODD_VALUES)
def test_values_that_no_judge_can_look_at_cost_their_own_points_only(kind, tmp_path, monkeypatch):
    judge, value = ODD_VALUES[kind]
    for folder in ("checks", "hidden"):
        (tmp_path / folder).mkdir()
        text = "import json\n" + _JUDGES.replace("JUDGE", judge)
        (tmp_path / folder / "9_9_odd.py").write_text(text)
    monkeypatch.setattr(grade_exercise, "bounded", lambda: bounded(seconds=0.5, nbytes=1 << 30))
    place = SimpleNamespace(tier="none", try_case=lambda *_: Outcome(Seen((value,))))
    one = exercise.find("9.9", tmp_path / "checks", tmp_path / "hidden")
    found = grade(one, place)
    assert (found.points, found.status) == (0, "wrong"), found
    assert "form that the exercise asks for" in found.reason


def burns(seconds):
    """Return a record that takes this long to read."""
    until_s = time.process_time() + seconds
    while time.process_time() < until_s:
        pass


@pytest.mark.timeout(60)
def test_the_judge_of_one_exercise_stops_at_its_limit_and_the_next_one_is_judged(
    tmp_path, monkeypatch
):
    for folder in ("checks", "hidden"):
        (tmp_path / folder).mkdir()
        text = _JUDGES.replace('[Case("one")]', '[Case(f"case {n}") for n in range(20)]')
        text = text.replace("JUDGE", "yield Claim('one', seen.values[0] == 1)")
        (tmp_path / folder / "9_9_odd.py").write_text(text)
    monkeypatch.setattr(grade_exercise, "JUDGE_S", 0.5)
    one = exercise.find("9.9", tmp_path / "checks", tmp_path / "hidden")

    def found(costs_s):
        def try_case(*_):
            burns(costs_s)
            return Outcome(Seen((1,)))

        return grade(one, SimpleNamespace(tier="none", try_case=try_case))

    begun_s = time.process_time()
    slow = found(0.3)
    assert time.process_time() - begun_s < 2  # not 40 times 0.3
    assert [case.status for case in slow.cases] == ["ok"] * 2 + [grade_exercise.UNJUDGED] * 38
    assert slow.status == grade_exercise.UNJUDGED and "judging took longer" in slow.reason
    assert slow.points < 0.1
    assert found(0.0).points == 1

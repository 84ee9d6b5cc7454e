"""`lab.check` on an exercise made for the test: right, wrong, missing, raising, hanging."""

from __future__ import annotations

import pytest

import lablib as lab
from lablib.teach import checks, exercise, progress

FILE = """
from lablib.teach.claims import equal_by_rank
from lablib.teach.exercise import Case
ANSWERS = ("double(x)", "triple(x)")
TITLE = "Twice"
POINTS = 2
def cases(seed):
    own = tuple({"x": seed + rank} for rank in range(2))
    return [Case(f"answer {n}", own=own, ranks=2, answer=n, timeout_s=5) for n in range(2)]
def observe(me, answer, given):
    return answer(given.x)
def judge(case, seen):
    expected = [(case.answer + 2) * own["x"] for own in case.own]
    yield equal_by_rank("it is a multiple", expected, seen.values, hints=("first", "second"))
"""


def double(x):
    return 2 * x


def triple(x):
    return 3 * x


def hangs(x):
    import time

    time.sleep(60)


def receives_first(x):
    import torch
    import torch.distributed as dist

    dist.recv(torch.zeros(1), 1 - dist.get_rank())


def not_attempted(x):
    raise NotImplementedError("not attempted yet")


def raises(x):
    raise ValueError("<b>oh</b>")


def with_a_table_of(megabytes):
    table = bytes(megabytes << 20)
    return lambda x: 2 * x + table[x]


@pytest.fixture(autouse=True)
def one_exercise(tmp_path, monkeypatch):
    (tmp_path / "9_1_twice.py").write_text(FILE)
    monkeypatch.setenv("LABLIB_HOME", str(tmp_path))
    for function in (exercise.every, exercise.find):
        monkeypatch.setattr(
            function, "__defaults__", (tmp_path, None, "")[: len(function.__defaults__)]
        )


def test_right_answers_get_all_points():
    result = lab.check("9.1", double, triple)
    assert (result.points, result.of, result.attempted) == (2, 2, True)


def test_half_of_the_answers_half_of_the_points():
    assert lab.check("9.1", double).points == 1
    assert lab.check("9.1", double, double).points == 1


@pytest.mark.parametrize(
    "answer, told",
    [
        (triple, "expected on rank 1: 2"),
        (raises, "ValueError: <b>oh</b>"),
        (hangs, "ran too long"),
        (lambda: 1, "it takes ()"),
        (3, "this is int"),
        (lambda x: object(), "cannot be sent"),
        (lambda x: {"x": x}, "saw on rank 0: {'x': 0}"),
        (with_a_table_of(megabytes=12), "12.0 MB, more than the 8 MB that are graded"),
    ],
    ids=[
        "wrong",
        "raises",
        "hangs",
        "takes nothing",
        "no function",
        "an object",
        "a dict",
        "too large",
    ],
)
def test_a_wrong_answer_is_told_why(answer, told):
    result = lab.check("9.1", answer, triple)
    assert result.points == 1 and told in repr(result)
    assert "<b>oh" not in result._repr_html_()


def test_an_answer_with_a_table_that_can_be_graded_gets_its_points():
    assert lab.check("9.1", with_a_table_of(megabytes=6), triple).points == 2


def test_what_was_not_attempted_says_so_and_is_not_counted_as_a_try():
    for answers in ((), (not_attempted,), (not_attempted, not_attempted)):
        result = lab.check("9.1", *answers)
        assert "not attempted yet" in repr(result) and result.points == 0
        assert not result.attempted
    assert progress.kept("exercise", "9.1") == {}


def test_the_second_hint_comes_with_the_second_try():
    assert [lab.check("9.1", triple, triple).hint for _ in range(3)] == [
        "first",
        "second",
        "second",
    ]


def test_a_hang_has_a_hint_and_another_failure_has_its_own():
    assert lab.check("9.1", hangs, double).hint.startswith("Look at the lines above")
    assert lab.check("9.1", receives_first, double).hint.startswith("Every rank is waiting to rec")
    assert lab.check("9.1", triple, double).hint == "second"


def test_the_best_points_are_kept():
    lab.check("9.1", double, triple)
    lab.check("9.1", triple, triple)
    assert progress.kept("exercise", "9.1") | {"tries": 2, "points": 2} == progress.kept(
        "exercise", "9.1"
    )
    assert "2 of 2 points" in repr(lab.progress())


@pytest.mark.parametrize("ask", [("9.2",), ("9.1", double, triple, double)])
def test_what_is_asked_wrongly_is_an_error(ask):
    with pytest.raises(lab.LabError):
        lab.check(*ask)


def test_a_judge_that_meets_the_wrong_type_fails_one_claim():
    one = exercise.find("9.1")
    claims = checks.judged(one, one.module.cases(0)[0], checks.Seen(values=(1,)))
    assert [claim.holds for claim in claims] == [False]

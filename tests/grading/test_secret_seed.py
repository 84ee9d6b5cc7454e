"""Hidden data depend on a secret seed, which is stored with the grades. No learner gets it."""

from __future__ import annotations

import re
import stat

import course
import pytest

from lablib.cluster.engine import wire
from lablib.computer.facts import ROOT
from lablib.course import package
from lablib.errors import LabError
from lablib.grading import pipeline
from lablib.grading.results import feedback
from lablib.grading.trial.grade_exercise import GradedCase, cases_of
from lablib.grading.trial.hidden_cases import hidden_cases
from lablib.grading.trial.secret_seed import NAME, derived, seed_of
from lablib.teach import exercise

EVERY = exercise.every()
SEEDS = range(6)
PUBLIC = 20_000, 0  # the default of earlier versions, and the seed of lab.check


def data_of(cases):
    return [wire.pack(case.given()) for case in cases]


@pytest.mark.parametrize("one", EVERY, ids=[one.number for one in EVERY])
def test_every_hidden_case_draws_its_data_from_the_seed(one):
    by_seed = [data_of(hidden_cases(one, derived(seed, "test"))) for seed in SEEDS]
    for number, drawn in enumerate(zip(*by_seed, strict=True), start=1):
        assert len(set(drawn)) > 1, f"hidden case {number} is the same for every seed"


@pytest.mark.parametrize("one", EVERY, ids=[one.number for one in EVERY])
def test_no_case_tells_its_seed_to_the_answer(one):
    for case, hidden in cases_of(one, 5):
        seed = derived(5, one.number, "hidden" if hidden else "public")
        told = {value for given in case.given() for value in given.values() if type(value) is int}
        assert not told & set(range(seed, seed + 9))


def test_a_seed_is_drawn_once_for_each_folder_and_only_its_owner_reads_it(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    drawn = seed_of(tmp_path / "one")
    assert drawn.bit_length() > 64 and seed_of(tmp_path / "one") == drawn
    assert seed_of(tmp_path / "other") != drawn
    assert stat.S_IMODE((tmp_path / "one" / NAME).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "one").iterdir()] == [NAME]


def test_a_given_seed_is_stored_and_another_one_is_refused(tmp_path):
    assert seed_of(tmp_path, 7) == seed_of(tmp_path, 7) == seed_of(tmp_path) == 7
    with pytest.raises(LabError, match="made with another seed"):
        seed_of(tmp_path, 8)


@pytest.mark.parametrize("text", ["7x", "", "-7", "7\n8", "9" * 5000])
def test_a_file_without_one_whole_number_is_refused(tmp_path, text):
    (tmp_path / NAME).write_text(text)
    with pytest.raises(LabError, match="cannot be read"):
        seed_of(tmp_path)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Grade a class of one learner twice; the second time only the feedback is new."""
    base = tmp_path_factory.mktemp("seed")
    course.make(base / "course")
    course.plant(base / "class", {"ann": course.notebook(double="def double(x): return {}[x]")})
    for _ in range(2):
        pipeline.grade(pipeline.Asked(base / "class", course.LAB, base / "out", unsafe=True,
                                    root=base / "course"))  # fmt: skip
    return base


def what_a_learner_has(base):
    """Return the text of the package and of the feedback."""
    paths = [*package.files(ROOT), *(base / "out/feedback").iterdir()]
    return [path.read_text("utf-8", "replace") for path in paths
            if path.suffix in (".py", ".html", ".ipynb", ".md", ".toml")]  # fmt: skip


def predicts(seeds, base):
    """Return True if one of the seeds, used in any way of the library, gives hidden data of 9.1."""
    one = exercise.find("9.1", base / "course/labs/checks", base / "course/solutions/hidden")
    due = data_of(case for case, hidden in cases_of(one, seed_of(base / "out")) if hidden)
    return any(
        data_of(hidden_cases(one, way)) == due
        for seed in seeds
        for way in (seed, *(derived(seed, "9.1", half) for half in ("public", "hidden")))
    )


@pytest.mark.timeout(120)
def test_nobody_can_predict_hidden_data_from_what_learners_have(graded):
    words = {word for text in what_a_learner_has(graded) for word in re.findall(r"\d+", text)}
    assert not predicts({int(word) for word in words if len(word) < 40} | {*PUBLIC}, graded)


@pytest.mark.timeout(120)
def test_that_claim_can_fail(graded):
    assert predicts([*PUBLIC, seed_of(graded / "out")], graded)


@pytest.mark.timeout(120)
def test_only_its_file_tells_the_seed(graded):
    seed = str(seed_of(graded / "out"))
    told = [path.name for path in (graded / "out").rglob("*")
            if path.is_file() and seed in path.read_text("utf-8")]  # fmt: skip
    assert told == [NAME]


def test_feedback_on_a_hidden_case_has_none_of_its_sizes():
    claim = {"text": "1F1B: every rank sends 8 messages of 1,048 B", "holds": False, "rank": 3,
             "expected": "77", "saw": "78", "evidence": "outside"}  # fmt: skip
    shown = [feedback._case(GradedCase("5 ranks", 0, hidden, 0.0, "ok", claims=(claim,)), "case")
             for hidden in (True, False)]  # fmt: skip
    assert "1F1B: every rank sends … messages of … B" in shown[0]
    assert not any(number in shown[0] for number in ("8", "1,048", "77"))
    assert all(number in shown[1] for number in ("8", "1,048", "77"))

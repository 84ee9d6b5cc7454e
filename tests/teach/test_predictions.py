"""A guess is scored by its error; a quiz explains itself; both work as text."""

from __future__ import annotations

import numpy as np
import pytest

import lablib as lab
from lablib.teach import progress, quizzes_file


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LABLIB_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "guess, happened, error, verdict",
    [
        (3.0, 2.0, 0.5, "50% off"),
        (2, np.float64(2.0), 0, "exactly so"),
        (10.0, 2.0, 4, "5.0 times apart"),
        ("rank 3", "rank 3", 0, "exactly so"),
        ("rank 3", "rank 0", 1, "otherwise"),
        (True, np.bool_(False), 1, "otherwise"),
        (None, 2.0, None, "no guess was made"),
        (0, 0, 0, "exactly so"),
    ],
)
def test_a_guess_beside_what_happened(guess, happened, error, verdict):
    revealed = lab.predict("how much", guess).reveal(happened)
    assert (revealed.error, revealed.verdict) == (error, verdict)
    assert verdict in repr(revealed) and verdict in revealed._repr_html_()


def test_a_guess_is_kept_with_its_error():
    lab.predict("speed-up <4>", 3.0).reveal(2.0)
    assert progress.kept("prediction", "speed-up <4>")["error"] == 0.5
    assert "guesses" in repr(lab.progress())


@pytest.mark.parametrize("guess", [[1], {}, float("nan"), 1j])
def test_other_guesses_are_refused(guess):
    with pytest.raises(lab.LabError):
        lab.predict("how much", guess)


QUIZ = """
[a]
question = "1 < 2?"
[[a.choices]]
text = "yes"
right = true
why = "so it is"
[[a.choices]]
text = "no"
why = "count"
"""


@pytest.fixture
def checks(tmp_path, monkeypatch):
    (tmp_path / "09_quizzes.toml").write_text(QUIZ)
    for function in (quizzes_file.find, quizzes_file.numbers):
        monkeypatch.setattr(function, "__defaults__", (tmp_path,))
    return tmp_path


def test_a_quiz_explains_each_choice(checks):
    quiz = lab.quiz("9.a")
    assert repr(quiz.answer(2)) == "Not right. count"
    assert repr(quiz.answer(1)) == "Right. so it is"
    assert progress.kept("quiz", "9.a")["right"]
    assert "1 &lt; 2?" in quiz._repr_html_() and "1  yes" in repr(quiz)


def test_its_widget_answers_at_once(checks):
    box = lab.quiz("9.a").widget()
    _, radio, verdict = box.children
    radio.value = 2
    assert "count" in verdict.value
    radio.value = 1
    assert "so it is" in verdict.value


def test_a_lab_s_number_shows_all_its_questions(checks):
    (checks / "09_quizzes.toml").write_text(QUIZ + QUIZ.replace("[a", "[b"))
    shown = lab.quiz("9")
    assert [one.question.number for one in shown.quizzes] == ["9.a", "9.b"]
    assert len(shown.widget().children) == 2 and shown._repr_html_().count("<ol>") == 2


@pytest.mark.parametrize("choice", [0, 3, "a"])
def test_no_such_choice(checks, choice):
    with pytest.raises(lab.LabError, match="no such choice"):
        lab.quiz("9.a").answer(choice)


@pytest.mark.parametrize("spoil", [("right = true\n", ""), ("why", "reason"), ("question", "ask")])
def test_a_malformed_quiz_is_told(checks, spoil):
    (checks / "09_quizzes.toml").write_text(QUIZ.replace(*spoil))
    with pytest.raises(lab.LabError, match="format of a quiz is wrong"):
        lab.quiz("9.a")

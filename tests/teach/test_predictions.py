"""A guess is scored by its error; a quiz explains its choices; both also work as text."""

from __future__ import annotations

import numpy as np
import pytest

import lablib as lab
from lablib.teach import progress, quizzes_file


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LABLIB_HOME", str(tmp_path))
    monkeypatch.delenv("LABLIB_GUESSES", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "guess, happened, error, verdict",
    [
        (3.0, 2.0, 0.5, "50% too high"),
        (2, np.float64(2.0), 0, "exact"),
        (10.0, 2.0, 4, "5.0 times too high"),
        (1.0, 4, 0.75, "4.0 times too low"),
        (-1.0, 2.0, 1.5, "the sign is wrong"),
        (0, 2.0, 1, "far too low"),
        (3, 0, 3e9, "the result is 0"),
        (0, 0, 0, "exact"),
        ("rank 3", "rank 3", 0, "right"),
        (" Rank  3", "rank 3", 0, "right"),
        ("rank 3", "rank 0", 1, "wrong"),
        (True, np.bool_(False), 1, "wrong"),
        ("true", True, 0, "right"),
        ("no", False, 0, "right"),
        ("2 MB", 2.0, 0, "exact"),
        ("1,000", 1000, 0, "exact"),
    ],
)
def test_a_guess_beside_what_happened(guess, happened, error, verdict):
    shown = lab.predict("how much <b>", guess, "MB").reveal(happened, why="because <i>")
    revealed = shown.revealed
    assert (pytest.approx(revealed.error), revealed.verdict) == (error, verdict)
    assert verdict in repr(shown) and "because <i>" in repr(shown)
    assert "<b>how much &lt;b&gt;</b>" in revealed.html("because <i>")
    assert "<p>because &lt;i&gt;</p>" in revealed.html("because <i>")


def test_a_result_is_locked_until_there_is_a_guess():
    def fails():
        raise AssertionError("it was computed before the guess")

    asked = lab.predict("speed-up", unit="×")
    assert asked.reveal(fails).revealed is None
    shown = asked.reveal(2.0)
    assert "2.0" not in repr(shown) and "no guess yet" in repr(shown)
    asked.answer("3")
    assert shown.revealed.guess == 3 and "result 2 ×" in repr(shown)


def test_a_guess_survives_a_restart_of_the_kernel():
    lab.predict("speed-up").answer(3)
    assert lab.predict("speed-up").reveal(2).revealed.guess == 3


def test_a_skipped_question_unlocks_and_is_counted():
    asked = lab.predict("speed-up", topic="scaling").skip()
    assert repr(asked.reveal(2.0)) == "speed-up: guess none, result 2 (skipped)"
    repr(lab.predict("bytes", 3.0, topic="scaling").reveal(3.1))
    repr(lab.predict("rank", "rank 0").reveal("rank 1"))
    assert asked.reveal(2.0).revealed.error is None
    shown = repr(lab.progress())
    assert "scaling: within a quarter of the result" in shown and "1 of 1, 1 skipped" in shown
    assert "predictions: within a quarter of the result" in shown and "0 of 1" in shown
    assert "scaling" in lab.progress()._repr_html_()


@pytest.mark.parametrize("guess", [[1], {}, float("nan"), 1j, "  "])
def test_other_guesses_are_refused(guess):
    with pytest.raises(lab.LabError, match="must be a number"):
        lab.predict("how much", guess)


def test_a_choice_is_one_of_the_choices():
    asked = lab.predict("who waits", choices=["rank 0", "rank 1", True])
    assert asked.answer("RANK 1").guess == "rank 1" and asked.answer("yes").guess is True
    with pytest.raises(lab.LabError, match="not one of the choices"):
        asked.answer("rank 2")


@pytest.mark.parametrize(
    "text, guess, skipped",
    [("skip", None, True), ('{"q": "3 MB"}', 3, False), ('{"other": 1}', None, False)],
)
def test_the_environment_gives_guesses(monkeypatch, text, guess, skipped):
    monkeypatch.setenv("LABLIB_GUESSES", text)
    asked = lab.predict("q", unit="MB")
    assert (asked.guess, asked.skipped) == (guess, skipped)


@pytest.mark.parametrize("text", ["{", "[1]", "skipp"])
def test_an_environment_that_cannot_be_read_is_said(monkeypatch, text):
    monkeypatch.setenv("LABLIB_GUESSES", text)
    with pytest.raises(lab.LabError, match="LABLIB_GUESSES cannot be read"):
        lab.predict("q")


def test_the_field_unlocks_its_result():
    asked = lab.predict("speed-up", unit="×")
    box, result, _ = asked.reveal(2.0, why="one word").widget().children
    entry, skip = box.children[1].children
    assert "as soon as you have made a guess" in result.value
    entry.value = "4 ×"
    assert entry.disabled and skip.disabled
    assert "2.0 times too high" in result.value and "one word" in result.value


def test_a_field_with_choices():
    asked = lab.predict("who", choices=["rank 0", "rank 1"])
    _, line, note = asked.widget().children
    line.children[0].value = "rank 1"
    assert asked.guess == "rank 1" and "rank 1" in note.value


def test_the_skip_button_unlocks_too():
    asked = lab.predict("speed-up")
    box, result, _ = asked.reveal(2.0).widget().children
    box.children[1].children[1].click()
    assert asked.skipped and "skipped" in result.value


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

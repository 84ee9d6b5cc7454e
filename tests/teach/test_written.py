"""A written answer is kept while it is typed, is bounded and escaped, and reveals the model."""

from __future__ import annotations

import json
import os
import sys

import pytest
import written
from jupyter_client.manager import start_new_kernel

import lablib as lab
from lablib.computer.facts import ROOT
from lablib.teach import progress, written_answers, written_questions, written_text

KERNEL_WITHIN_S = 60


@pytest.fixture(autouse=True)
def checks(tmp_path, monkeypatch):
    monkeypatch.setenv("LABLIB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LABLIB_GUESSES", raising=False)
    written.plant(tmp_path / "checks")
    monkeypatch.setattr(written_questions.find, "__defaults__", (tmp_path / "checks",))
    monkeypatch.setattr(written_questions.every, "__defaults__", (tmp_path / "checks", ""))
    return tmp_path / "checks"


def parts(shown):
    """The text field, the button, the note and the box below them."""
    _, entry, line, below = shown.widget().children
    return entry, *line.children, below


def test_an_answer_is_kept_while_it_is_typed():
    entry, _, note, _ = parts(lab.explain("9.w1"))
    entry.value = "The gate"
    assert note.value == "2 words, kept as a draft. Press Save when you have finished."
    again, save, note, _ = parts(lab.explain("9.w1"))
    assert again.value == "The gate"
    again.value = written.ANSWER
    save.click()
    assert note.value == "14 words, saved for your instructor."
    assert lab.explain("9.w1").text == written.ANSWER


IN_A_KERNEL = """
import pathlib
from lablib.teach import written_questions
written_questions.find.__defaults__ = (pathlib.Path({checks!r}),)
import lablib as lab
_, entry, line, below = lab.explain("9.w1").widget().children
"""


def in_kernel(client, code):
    """Run a cell in the kernel and return what it prints."""
    printed = []

    def output(message):
        content = message["content"]
        assert message["msg_type"] != "error", content
        printed.append(content.get("text", ""))

    client.execute_interactive(code, timeout=KERNEL_WITHIN_S, output_hook=output)
    return "".join(printed)


@pytest.mark.timeout(180)
def test_an_answer_survives_a_restart_of_the_kernel(checks):
    begin = IN_A_KERNEL.format(checks=str(checks))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    manager, client = start_new_kernel(startup_timeout=KERNEL_WITHIN_S, env=environment)
    try:
        assert in_kernel(client, begin + "print(repr(entry.value))") == "''\n"
        in_kernel(client, f"entry.value = {written.ANSWER!r}")
        manager.restart_kernel(now=True)
        client.wait_for_ready(timeout=KERNEL_WITHIN_S)
        printed = in_kernel(client, begin + "print(entry.value, line.children[1].value)")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert (
        printed
        == f"{written.ANSWER} 14 words, kept as a draft. Press Save when you have finished.\n"
    )


def test_that_claim_can_fail(checks, tmp_path, monkeypatch):
    lab.explain("9.w1", written.ANSWER)
    monkeypatch.setenv("LABLIB_HOME", str(tmp_path / "another learner"))
    assert lab.explain("9.w1").text == ""


def test_the_model_answer_is_hidden_until_an_answer_is_saved():
    shown = lab.explain("9.w2")
    entry, save, note, below = parts(shown)
    entry.value = "one two three"
    save.click()
    assert "too short. 3 words" in note.value and below.children == ()
    entry.value = written.ANSWER
    everything = repr(shown) + shown._repr_html_()
    assert written.MODEL not in everything and "Names a cost" not in everything
    save.click()
    assert "content." in below.children[0].value and "Names a cost" in repr(shown)
    assert written.MODEL in repr(shown) and "scaled data &amp; so" in shown._repr_html_()


def test_the_learner_ticks_the_points_of_the_rubric():
    *_, below = parts(lab.explain("9.w2").answer(written.ANSWER))
    *lines, result = below.children[1:]
    lines[0].children[0].value = True
    lines[2].children[0].value = True
    assert result.value == "self-assessed 3 of 4"
    *_, again = parts(lab.explain("9.w2"))
    assert [line.children[0].value for line in again.children[1:-1]] == [True, False, True]
    assert lab.explain("9.w2").assess(2).state == "self-assessed 1 of 4"


def test_the_progress_shows_written_answers_without_points():
    points = lab.progress().points, lab.progress().of
    assert repr(lab.progress()).count("not written yet") == 2
    lab.explain("9.w1", written.ANSWER)
    lab.explain("9.w2", written.ANSWER).assess(1, 3)
    shown = repr(lab.progress())
    assert "saved, to be read by the instructor" in shown and "self-assessed 3 of 4" in shown
    assert "Post-mortem &lt;i&gt;" in lab.progress()._repr_html_()
    assert (lab.progress().points, lab.progress().of) == points


def test_an_instructors_question_shows_its_rubric_and_no_model():
    shown = lab.explain("9.w1", written.ANSWER)
    assert "Names the step <b> (1 point)" in repr(shown) and "up to 4 points" in repr(shown)
    with pytest.raises(lab.LabError, match="nothing to assess"):
        shown.assess(1)


def test_everything_is_escaped():
    for number in ("9.w1", "9.w2"):
        shown = lab.explain(number, "<script>alert(1)</script> " * 8)
        _, entry, _, below = shown.widget().children
        html = shown._repr_html_() + shown.widget().children[0].value
        html += "".join(one.value for one in below.children[:1])
        assert "<script" not in html and "<i>" not in html and "data & so" not in html
        assert "Names the step <b>" not in html
    assert "<script" in entry.value  # the claim can fail: a field shows text, not HTML


@pytest.mark.parametrize(
    "text, message",
    [
        ("too short", "too short"),
        ("word " * 1200, "too long"),
        (b"bytes", "is a text"),
        (None, "is a text"),
    ],
)
def test_other_answers_are_refused(text, message):
    with pytest.raises(lab.LabError, match=message):
        lab.explain("9.w1").answer(text)


def test_a_text_that_became_too_long_leaves_the_stored_one():
    entry, _, note, _ = parts(lab.explain("9.w1"))
    entry.value = written.ANSWER
    entry.value = "x" * (written_text.MOST_CHARACTERS + 1)
    assert "last changes are not stored" in note.value and "5,001 characters" in note.value
    assert lab.explain("9.w1").text == written.ANSWER
    entry.value = "x" * written_text.MOST_CHARACTERS
    assert len(lab.explain("9.w1").text) == written_text.MOST_CHARACTERS


@pytest.mark.parametrize(
    "typed, kept",
    [
        ("a\r\nb\x0bc\u2028d", "a\nb\nc\nd"),
        ("\x1b[31mred\x00\ud800\u202e\ufeff", "[31mred"),
        ("two\xa0words\tand tabs  ", "two words and tabs"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \U0001f469\u200d\U0001f4bb",) * 2,
    ],
    ids=ascii,
)
def test_invisible_characters_are_removed(typed, kept):
    assert lab.explain("9.w1").keep_draft(typed).text == kept
    assert progress.kept("written", "9.w1")["text"] == kept


def test_an_answer_that_cannot_be_stored_is_not_called_stored(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABLIB_HOME", str(tmp_path / "file"))
    entry, _, note, _ = parts(lab.explain("9.w1"))
    entry.value = written.ANSWER
    assert "could not be stored" in note.value


@pytest.mark.parametrize("points", [(0,), (4,), ("1",)])
def test_only_points_of_the_rubric_can_be_ticked(points):
    with pytest.raises(lab.LabError, match="no such point"):
        lab.explain("9.w2", written.ANSWER).assess(*points)


@pytest.mark.parametrize(
    "given, text",
    [("skip", ""), (json.dumps({"9.w1": written.ANSWER}), written.ANSWER), ("{}", "")],
)
def test_the_environment_gives_answers(monkeypatch, given, text):
    monkeypatch.setenv("LABLIB_GUESSES", given)
    assert lab.explain("9.w1").text == text


def test_a_run_without_a_learner_shows_nobodys_answer(monkeypatch):
    lab.explain("9.w1", written.ANSWER)
    monkeypatch.setenv("LABLIB_GUESSES", "skip")
    assert "not written yet" in repr(lab.explain("9.w1"))
    monkeypatch.delenv("LABLIB_GUESSES")
    assert lab.explain("9.w1").text == written.ANSWER


def test_an_assessment_stays_when_the_rubric_has_become_shorter(checks):
    lab.explain("9.w2", written.ANSWER).assess(1, 3)
    shorter = written.FILE.replace(', {points = 2, text = "Decides"}', "")
    (checks / "09_written.toml").write_text(shorter)
    assert lab.explain("9.w2").state == "self-assessed 1 of 2"
    assert "self-assessed 1 of 2" in repr(lab.progress())


def test_without_widgets_it_is_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    shown = lab.explain("9.w1")._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/html"}
    assert 'lab.explain("9.w1").answer("...")' in shown["text/plain"]


def test_an_unknown_question_is_said():
    with pytest.raises(lab.LabError, match="no such written question") as raised:
        lab.explain("9.w7")
    assert "9.w1, 9.w2" in str(raised.value)


SPOILT = {
    "not TOML": ("[", "["),
    "another lab's number": ('["9.w1"]', '["8.w1"]'),
    "no number": ('["9.w1"]', "[w1]"),
    "another reader": ('"instructor"', '"class"'),
    "an unknown key": ("points = 4", "points = 4\nlength = 3"),
    "points of another type": ("points = 4", 'points = "4"'),
    "points that are not the sum": ("points = 4", "points = 5"),
    "no text in the rubric": ('"Says why"', '" "'),
    "an empty rubric": ('rubric = [{text = "Names a cost"}', 'rubric = []\nx = [{text = "Names"}'),
    "a model answer that gives away": ("points = 4", 'points = 4\nanswer = "told"'),
    "no model answer": (f'answer = "{written.MODEL}"', ""),
    "points that nobody gives": ('reader = "yourself"', 'reader = "yourself"\npoints = 4'),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_malformed_question_is_said(checks, what):
    lab.explain("9.w1"), lab.explain("9.w2")
    text = written.FILE if what != "not TOML" else "["
    (checks / "09_written.toml").write_text(text.replace(*SPOILT[what]))
    with pytest.raises(lab.LabError, match="format of a written question is wrong"):
        lab.explain("9.w1")


def test_the_kits_own_questions_can_be_asked():
    questions = written_questions.every(ROOT / "labs/checks").values()
    assert {question.reader for question in questions} == {"instructor", "yourself"}
    for question in questions:
        assert question.title in repr(written_answers.WrittenAnswer(question, {}))

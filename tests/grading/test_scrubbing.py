"""Errors and values that learners see reveal nothing about the grader's computer."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lablib.computer.facts import ROOT
from lablib.grading.intake.submissions import Submission
from lablib.grading.results import feedback
from lablib.grading.results.gradebook import GRADED, Row
from lablib.grading.trial import scrubbing
from lablib.grading.trial.grade_exercise import Graded, GradedCase, _judged, _together
from lablib.grading.trial.isolation import Outcome
from lablib.teach.exercise import Case
from lablib.teach.observation import Seen

COMMAND_LINE = Path("/proc/cmdline").read_text().strip()
PRIVATE = {
    f'File "{ROOT}/lablib/teach/x.py", line 3, in f': 'File "x.py", line 3, in f',
    "FileNotFoundError: [Errno 2] No such file: '/tmp/lab lib/a b.txt'":
        "FileNotFoundError: [Errno 2] No such file: 'a b.txt'",
    "open(/home/jane/x.npy) failed": "open(x.npy) failed",
    "PATH=/root/.venv/bin:/usr/bin": "PATH=bin:bin",
    "['one\\n/root/secret/two']": "['one\\ntwo']",
    "see file:///root/kit/x.html": "see x.html",
    "in /var/tmp/lablib-x1/": "in ",
    f"on {socket.gethostname()}: no": "on ...: no",
    f"it was {COMMAND_LINE}!": "it was ...!",
    f"{Path('/proc/version').read_text()}": "...\n",
}  # fmt: skip
PLAIN = [
    "3 samples/s", "a / b", "1/2", "x = y/z/w", "https://example.org/a/b.html", "/", "//", "and/or",
    "expected [1.0, 2.0], saw [1.0]", "rank 0 of 2 raised ValueError: /= needs a number", "~/x/y",
    "../data/x.csv",
]  # fmt: skip


@pytest.mark.parametrize("text", PRIVATE, ids=lambda text: text[:20])
def test_what_is_the_graders_own_is_not_shown(text):
    assert scrubbing.scrubbed(text) == PRIVATE[text]


@pytest.mark.parametrize("text", PLAIN)
def test_everything_else_stays_as_it_is(text):
    assert scrubbing.scrubbed(text) == text


ODD_FOLDER = "/srv/Dr. O'Neil's class [2026] (spring)/kit"


@pytest.mark.parametrize("path", [
    f"{ODD_FOLDER}/lablib/x.py", f"'{ODD_FOLDER}/x.py'", ODD_FOLDER.upper(),
    ODD_FOLDER.replace("/", "//"), ODD_FOLDER.replace("/", "\\/"), ODD_FOLDER.replace("/", "%2F"),
])  # fmt: skip
def test_an_odd_name_of_a_folder_is_not_shown_however_a_path_is_written(path, monkeypatch):
    monkeypatch.setattr(scrubbing, "ROOT", Path(ODD_FOLDER))
    scrubbing._folders_of_the_kit.cache_clear()
    shown = scrubbing.scrubbed(f"in {path}: no")
    scrubbing._folders_of_the_kit.cache_clear()
    assert not any(word in shown.lower() for word in ("srv", "neil", "2026", "spring")), shown
    assert shown.startswith("in ") and shown.endswith(": no")


@pytest.mark.parametrize("text", PRIVATE, ids=lambda text: text[:20])
def test_the_page_that_a_learner_gets_holds_no_such_thing(text):
    exercise = type("Exercise", (), {"number": "9.1"})
    outcome = Outcome(Seen(), "error", "a rank raised OSError", f"OSError: {text}")
    case = _judged(exercise, Case("two ranks", answer=0), False, outcome)
    graded = Graded("9.1", 0.0, 2.0, "error", cases=(case,))
    row = Row(Submission("jane"), GRADED, "", {"9.1": graded}, {"9.1": 2.0})
    page = feedback.feedback(row, "09", {"9.1": "Mean"})
    assert "OSError: " in page
    for private in (str(ROOT), "/root", "/home", "/tmp", "/var", COMMAND_LINE):
        assert private not in page


def test_a_note_is_scrubbed_too():
    exercise = type("Exercise", (), {"number": "9.1", "points": 2.0})
    case = GradedCase("two ranks", 0, False, 1.0, "ok")
    hidden = GradedCase("others", 0, True, 1.0, "ok")
    graded = _together(exercise, [case, hidden], (f"f was found in {ROOT}/x.py",), "box")
    assert graded.notes == ("f was found in x.py",)

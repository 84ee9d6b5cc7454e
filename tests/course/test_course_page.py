"""The first page of `make lab`: every lab with its time, the points and the predictions."""

from __future__ import annotations

import json

import pytest

from lablib.computer.facts import ROOT
from lablib.course import learners_copies
from lablib.course.course_page import course_page, stated_time
from lablib.teach import progress


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two labs of a course and the learner's copies; nothing has been solved."""
    monkeypatch.setenv("LABLIB_HOME", str(tmp_path / "home"))
    for folder in ("labs", "my_labs"):
        (tmp_path / folder).mkdir()
        labs = tmp_path / folder
        write(labs / "01_one.ipynb", "# Lab 01 · One\nAbout one.", "**It takes** an hour.")
        write(labs / "03_three.ipynb", "# Lab 03 · <b>Three</b>", "**Time** 2 hours, or so.")
    return tmp_path


def write(path, *texts):
    cells = [{"cell_type": "markdown", "metadata": {}, "source": [text]} for text in texts]
    path.write_text(json.dumps({"cells": cells, "metadata": {}}))


def test_the_page_shows_all_labs_with_times_and_links(root):
    shown = course_page(root, "http://127.0.0.1/course", "/base/")
    assert "<a href='/base/lab/tree/01_one.ipynb'>Lab 01 · One</a></td><td>an hour</td>" in shown
    assert "<td>2 hours</td>" in shown and "&lt;b&gt;Three" in shown and "<b>Three" not in shown
    assert "no predictions yet" in shown


def test_a_lab_that_the_learner_does_not_have_gets_no_link(root):
    (root / "my_labs" / "01_one.ipynb").unlink()
    assert "01_one.ipynb" not in course_page(root, "")


def test_the_page_is_up_to_date_each_time(root):
    most = f"{progress.progress().points_of(1)[1]:g}"
    assert f"0 of {most}<" in course_page(root, "")
    progress.keep("exercise", "1.1", {"points": 1.5, "tries": 1})
    guess = {"guess": 3, "happened": 3, "error": 0.0, "topic": "scaling"}
    progress.keep("prediction", "how much", guess)
    shown = course_page(root, "")
    assert f"1.5 of {most}<" in shown
    assert "<td>scaling</td><td>1 of 1</td>" in shown


def test_the_page_writes_nothing(root):
    before = sorted(root.rglob("*"))
    course_page(root, "")
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("path", sorted((ROOT / "labs").glob("*.ipynb")), ids=lambda p: p.stem)
def test_every_lab_of_the_kit_states_its_time(path):
    assert any(word in stated_time(json.loads(path.read_text())) for word in ("hour", "min"))


def test_the_pages_address_is_the_first_that_jupyter_opens(root):
    command = learners_copies.jupyter_command(browser=True, root=root)
    assert "--LabApp.default_url=/course" in command

"""`lab.check`, `submit` and `grade` agree about an answer, however it is written."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys

import course
import pytest
from ways_to_answer import RIGHT, WRONG, cells, checked_cells

from lablib.computer.facts import ROOT
from lablib.grading import pipeline, submit

pytestmark = [pytest.mark.needs("bubblewrap"), pytest.mark.timeout(600)]
WAYS = RIGHT | WRONG
# Each notebook runs in its own shell, as in a kernel, in this order.
_CHECK = """
import contextlib, json, os, sys
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell
import lablib as lab
from lablib.teach import checks, exercise
from traitlets.config import Config

exercise.find.__defaults__ = Path(sys.argv[1]), None
results, config = [], Config({"HistoryManager": {"enabled": False}})
def check(number, *answers):
    results.append(None)
    results[-1] = checks.check(number, *answers)
    return results[-1]
lab.check = check
said = {}
for name, sources in json.load(sys.stdin).items():
    results.clear()
    shell = InteractiveShell(config=config)
    with open(os.devnull, "w") as silent, contextlib.redirect_stdout(silent):
        for source in sources:
            shell.run_cell(source, store_history=True)
    last = results[-1] if results else None
    said[name] = bool(last and last.points == last.of)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Make a course with exercise 9.2 alone and one public case, and a class of learners.

    Each learner answers in one way.
    """
    base = tmp_path_factory.mktemp("ways")
    for path in course.make(base / "course").rglob("9_1_mean.py"):
        path.unlink()
    course.with_one_public_case(base / "course")
    books = {name: course.of(*(course.cell(source, id) for id, source in cells(way)))
             for name, way in WAYS.items()}  # fmt: skip
    course.plant(base / "class", books)
    return base


@pytest.fixture(scope="module")
def checked(base):
    """Return for each way whether `lab.check` gives all points in a notebook's kind of shell."""
    sources = {name: checked_cells(way) for name, way in WAYS.items()}
    done = subprocess.run(
        [sys.executable, "-c", _CHECK, base / "course/labs/checks"], input=json.dumps(sources),
        capture_output=True, text=True, timeout=200, cwd=base,
        env=os.environ | {"PYTHONPATH": str(ROOT), "LABLIB_HOME": str(base / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def graded(base):
    """Return the row of grades.csv for each way."""
    asked = pipeline.Asked(base / "class", course.LAB, base / "out", root=base / "course")
    pipeline.grade(asked)
    with open(base / "out/grades.csv", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("way", RIGHT)
def test_a_right_answer_gets_all_points_from_each_command(way, base, checked, graded, tmp_path):
    assert checked[way]
    assert graded[way]["total"] == "2", graded[way]
    report = submitted(base, way, tmp_path)
    assert report.ok and report.answers["9.2"][0].status == "found", report


@pytest.mark.parametrize("way", WRONG)
def test_a_wrong_answer_gets_no_points_from_any_command(way, checked, graded):
    assert not checked[way]
    assert graded[way]["total"] == "0", graded[way]


def submitted(base, way, tmp_path):
    for folder in ("labs", "my_labs"):
        (tmp_path / folder).mkdir()
    shutil.copytree(base / "course/labs/checks", tmp_path / "labs/checks")
    shutil.copy(base / "course/labs/09_small.ipynb", tmp_path / "labs")
    shutil.copy(base / "class" / f"{way}.ipynb", tmp_path / "my_labs/09_small.ipynb")
    return submit.submit(course.LAB, tmp_path / "mine.ipynb", tmp_path)

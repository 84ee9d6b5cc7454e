"""Grading a class: points, rows, pages; no losses, no secrets, reproducible results.

The learners here are honest; `hostile/` has the others. So most tests run without a box.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import course
import pytest

from lablib import cli
from lablib.cluster.engine import wire
from lablib.computer.facts import ROOT
from lablib.errors import LabError
from lablib.files import write_completely
from lablib.grading import pipeline
from lablib.grading.results import class_report, feedback, folder_lock
from lablib.grading.results.lateness import Lateness
from lablib.grading.trial import worker_pool
from lablib.grading.trial.hidden_cases import hidden_cases
from lablib.grading.trial.secret_seed import seed_of
from lablib.grading.trial.worker_pool import GradingJob
from lablib.teach import exercise

RIGHT = course.notebook()
HARD_CODED = course.notebook(double="def double(x):\n    return {2: 4, 3: 6}.get(x, 0)")
HALF = course.notebook(mean="def mean_of_all(x, rank, ranks):\n    return x")
SYNTAX = course.notebook(double="def double(x):\n    return 2 *")
RAISES = course.notebook(double="def double(x):\n    raise ValueError(f'<b>{x}</b>')")
CLASS = {
    "ann": RIGHT, "bob": course.starter(), "cid": HARD_CODED, "dot": HALF, "eve": SYNTAX,
    "fay": RAISES, "gus": b"{", "hal": lambda path: path.mkdir(), "ivy": RIGHT,
    "=joe": RIGHT,
}  # fmt: skip
EXPECTED = {
    # id: (9.1, 9.2, total, status, reason)
    "'=joe": ("4", "2", "6", "graded", ""),
    "ann": ("4", "2", "6", "graded", ""),
    "bob": ("0", "0", "0", "graded", "9.1 not attempted; 9.2 not attempted"),
    "cid": ("4", "1", "5", "graded", "9.2 partly right (does not hold: twice x)"),
    "dot": ("0", "2", "2", "graded", "9.1 wrong (does not hold: every rank has the mean)"),
    "eve": ("4", "0", "4", "graded",
            "9.2 syntax error (line 2 of cell exercise-9-2: invalid syntax)"),
    "fay": ("4", "0", "4", "graded", "9.2 error"),
    "gus": ("0", "0", "0", "unreadable", "the file is not valid JSON at line 1: damaged, "
            "or not a notebook"),
    "hal": ("0", "0", "0", "missing", "no notebook in the folder"),
    "ivy": ("4", "2", "6", "graded", ""),
}  # fmt: skip


def asked(base, out="out", **more):
    return pipeline.Asked(base / "class", course.LAB, base / out, root=base / "course",
                         **{"unsafe": True, "jobs": 2} | more)  # fmt: skip


def table(out, name="grades.csv"):
    with open(out / name, newline="") as file:
        return list(csv.DictReader(file))


def files(out):
    """Return the files that are equal if the grades are: all except the log."""
    return {path.relative_to(out): path.read_bytes() for path in out.rglob("*")
            if path.is_file() and path.name != "log.jsonl"}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Make a course and a class that was graded once."""
    base = tmp_path_factory.mktemp("grading")
    course.make(base / "course")
    course.plant(base / "class", CLASS)
    pipeline.grade(asked(base))
    return base


@pytest.mark.timeout(300)
def test_each_submission_has_its_row(base):
    found = {
        row["id"]: (row["9.1"], row["9.2"], row["total"], row["status"], row["reason"])
        for row in table(base / "out")
    }
    found["fay"] = (*found["fay"][:4], found["fay"][4].partition(" (")[0])
    assert found == EXPECTED
    assert {row["tier"] for row in table(base / "out")} == {"UNSANDBOXED"}
    assert list(found) == sorted(found, key=lambda name: name.lstrip("'"))


@pytest.mark.timeout(300)
def test_grading_twice_gives_the_same_bytes(base):
    pipeline.grade(asked(base, "again", jobs=1, seed=seed_of(base / "out")))
    assert files(base / "again") == files(base / "out")


def test_going_on_tries_nothing_twice(base, monkeypatch):
    before = files(base / "out")
    monkeypatch.setattr(worker_pool.Worker, "ask", lambda *_: pytest.fail("tried again"))
    pipeline.grade(asked(base))
    assert files(base / "out") == before


@pytest.mark.timeout(300)
def test_a_grader_that_is_killed_goes_on(base):
    out = base / "killed"
    seed = seed_of(base / "out")
    course.kill_after(course.start_grading(base, "killed", unsafe=True, seed=seed), out, results=1)
    assert not (out / "grades.csv").exists()
    pipeline.grade(asked(base, "killed"))
    assert files(out) == files(base / "out")


def test_a_second_run_into_the_same_folder_is_refused_and_changes_nothing(base):
    before = files(base / "out")
    refused = pytest.raises(LabError, match="Another run of grade")
    with folder_lock.only_run_in(base / "out"), refused:
        pipeline.grade(asked(base, regrade=True))
    assert files(base / "out") == before
    pipeline.grade(asked(base))  # the lock has ended


def test_only_pages_of_feedback_are_removed(base):
    folder = base / "out" / "feedback"
    (folder / "nobody.html").write_text("a submission that no longer exists")
    (folder / "notes.txt").write_text("the instructor's own")
    (folder / "more").mkdir()
    pipeline.grade(asked(base))
    names = {path.name for path in folder.iterdir()}
    assert "nobody.html" not in names and {"notes.txt", "more"} <= names
    (folder / "notes.txt").unlink(), (folder / "more").rmdir()


def test_feedback_tells_nothing_that_is_hidden(base):
    pages = {path.stem: path.read_text() for path in (base / "out" / "feedback").iterdir()}
    assert len(pages) == len(CLASS)
    for text in pages.values():
        assert "SECRET-CASE" not in text and "71077345" not in text and course.CANARY not in text
        assert "<script" not in text and len(text) < 1_000_000
    assert "Hidden case 1" in pages["cid"] and "twice x" in pages["cid"]
    assert "&lt;b&gt;2&lt;/b&gt;" in pages["fay"] and "<b>2</b>" not in pages["fay"]


def test_that_claim_about_feedback_can_fail(base):
    kept = "".join(path.read_text() for path in (base / "out" / "results").iterdir())
    # The instructor's own file, which nobody else gets.
    assert "SECRET-CASE" in kept and "71077345" in kept


def test_the_report_shows_the_class(base):
    report = (base / "out" / "report.html").read_text()
    for words in ("10 submissions", "UNSANDBOXED", "twice x", "the same file", "measured outside"):
        assert words in report


def test_the_report_escapes_each_text_once():
    text = class_report.report([], "09", {"9.1": "a & <b>"}, [])
    assert "<td>a &amp; &lt;b&gt;</td>" in text


def test_the_report_names_what_was_taken_for_no_submission():
    text = class_report.report([], "09", {}, [], ["<class>.csv"])
    assert "These are not submissions: &lt;class&gt;.csv." in text
    assert "not submissions" not in class_report.report([], "09", {}, [])


@pytest.mark.parametrize(
    "claim, seen_how",
    [
        ("every rank has the mean", "returned values"),
        ("in one collective", "reported by the ranks"),
    ],
)
def test_the_report_says_how_each_claim_was_seen(base, claim, seen_how):
    report = (base / "out" / "report.html").read_text()
    assert f"<td>{claim}</td><td>{seen_how}</td>" in report
    assert f"<li><b>{seen_how}</b>: " in report


def test_other_programs_can_read_the_grades(base):
    canvas = table(base / "out", "grades_canvas.csv")
    assert canvas[0]["Student"] == "Points Possible" and canvas[0]["Lab 09"] == "6"
    nbgrader = {row["student_id"]: row for row in table(base / "out", "grades_nbgrader.csv")}
    assert nbgrader["cid"]["score"] == "5" and nbgrader["cid"]["max_score"] == "6"


OVERRIDES = {
    "by-hand.csv": "id,exercise,points,comment\ncid,9.2,2,=fine\ngus,,,Send it again.\n",
    "by-hand.yaml": 'cid:\n  "9.2": {points: 2, comment: "=fine"}\n'
    "gus:\n  comment: Send it again.\n",
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_what_was_given_by_hand_survives(base, name):
    (base / name).write_text(OVERRIDES[name])
    pipeline.grade(asked(base, overrides=base / name))
    for _ in range(2):  # the second time without naming the file
        rows = {row["id"]: row for row in table(base / "out")}
        assert rows["cid"]["9.2"] == "2" and rows["cid"]["total"] == "6"
        assert rows["cid"]["comment"] == "9.2: =fine" and rows["gus"]["comment"] == "Send it again."
        assert (
            "the points were set by hand. =fine"
            in (base / "out" / "feedback" / "cid.html").read_text()
        )
        pipeline.grade(asked(base))
    (base / "out" / "overrides.csv").unlink()
    pipeline.grade(asked(base))


LATE = """due: 2026-03-01 12:00
grace_minutes: 30
lost_per_day: 0.25
most_lost: 0.5
handed_in:
  ann: 2026-03-01 12:30
  cid: 2026-03-01 12:31
  ivy: 2026-03-09
"""


def test_late_submissions_lose_what_the_rule_says(base):
    (base / "late.yaml").write_text(LATE)
    for path in (base / "class").glob("*.ipynb"):
        os.utime(path, (0, 0))
    pipeline.grade(asked(base, "late", only=("ann",), late=base / "late.yaml"))
    pipeline.grade(asked(base, late=base / "late.yaml"))
    rows = {row["id"]: (row["total"], row["late"]) for row in table(base / "out")}
    assert rows["ann"] == ("6", "")
    assert rows["cid"] == ("3.75", "1 day late: -25%")
    assert rows["ivy"] == ("3", "9 days late: -50%")
    assert rows["dot"] == ("2", "")
    pipeline.grade(asked(base))


def test_only_one_is_graded_when_so_asked(base):
    rows = {row["id"]: row for row in table(base / "late")}
    assert rows["ann"]["status"] == "graded"
    assert rows["cid"]["status"] == "not graded" and "--only" in rows["cid"]["reason"]


WRONG = {
    "no such learner": ({"only": ("zed",)}, "There is no submission of this learner"),
    "no such lab": ({"lab": "42"}, "This lab has no exercises"),
    "no worker": ({"jobs": 0}, "jobs must be a whole number"),
    "out inside": ({"out": Path("class/out")}, "cannot be in the folder of submissions"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_asked_is_said_before_anything_runs(base, what):
    changes, message = WRONG[what]
    given = {"folder": base / "class", "lab": course.LAB, "out": base / "x", "unsafe": True}
    if "out" in changes:
        changes = {"out": base / changes["out"]}
    with pytest.raises(LabError, match=message):
        pipeline.grade(pipeline.Asked(**given | changes, root=base / "course"))
    assert not (base / "x").exists() and not (base / "class" / "out").exists()


BAD_FILES = {
    "a.csv": "id,exercise,points,comment\nzed,9.1,1,\n",
    "b.csv": "id,exercise,points,comment\nann,9.7,1,\n",
    "c.csv": "id,exercise,points,comment\nann,9.1,nan,\n",
    "d.csv": "name,mark\nann,1\n",
    "e.yaml": "ann: [1, 2]\n",
    "f.yaml": "ann: {\n",
    "g.csv": "id,exercise,points,comment\nann,,3,\n",
    "late1.yaml": "due: soon\n",
    "late2.yaml": "due: 2026-03-01\nlost_per_day: 2\n",
    "late3.yaml": "due: 2026-03-01\nfine: 2\n",
    "late4.yaml": "due: 2026-03-01\nhanded_in: {zed: 2026-03-01}\n",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_an_instructors_file_that_is_wrong_is_said(base, name):
    (base / name).write_text(BAD_FILES[name])
    given = {"late" if name.startswith("late") else "overrides": base / name}
    with pytest.raises(LabError, match="is not valid"):
        pipeline.grade(asked(base, "bad", **given))


def test_a_worker_that_dies_costs_one_exercise_and_is_replaced(tmp_path):
    deaths, answers = [], []

    class Mortal:
        def __init__(self, number):
            self.number = number

        def ask(self, job, within_s):
            if job == "deadly":
                deaths.append(self)
                raise worker_pool.Lost
            return {"done": job}

        def kill(self):
            pass

        close = kill

    crew = worker_pool.Crew(Mortal, lambda job, answer: answers.append((job, answer)))
    crew.work([GradingJob("deadly", 1), *(GradingJob(f"job {n}", 1) for n in range(9))], 2)
    told = dict(answers)
    assert len(told) == 10 and "twice" in told["deadly"]["trouble"]
    assert len(deaths) == 2 and len(set(map(id, deaths))) == 2
    assert all(told[f"job {n}"] == {"done": f"job {n}"} for n in range(9))


TORCH, TENSORFLOW, BOTH = ({"torch"}, {"tensorflow"}, {"torch", "tensorflow"})


@pytest.mark.parametrize(
    "needs, asking, started",
    [
        ([TORCH, TORCH, TENSORFLOW], [0, 1, 0, 1], [TORCH, TENSORFLOW, TORCH, None]),
        # So many that it is worth the time.
        ([TORCH] * 7, [0, 1, 0, 1], [TORCH, TORCH, TORCH, TORCH]),
        ([TORCH] * 4, [0, 1, 0], [TORCH, None, TORCH]),
        ([BOTH, TORCH, TENSORFLOW], [0, 1, 0, 0], [BOTH, None, TORCH, TENSORFLOW]),
        ([TORCH, TENSORFLOW, BOTH], [0, 1, 1, 0], [TORCH, TENSORFLOW, BOTH, None]),
        ([TORCH, TENSORFLOW], [0, 0, 0], [TORCH, TENSORFLOW, None]),
    ],
)
def test_a_framework_is_imported_where_it_pays(needs, asking, started):
    waiting = worker_pool.JobQueue([GradingJob({}, 1, frozenset(each)) for each in needs])
    given = [waiting.next(number) for number in asking]
    assert [job and set(job.frameworks) for job in given] == started


EVERY = exercise.every()


@pytest.mark.parametrize("one", EVERY, ids=[one.number for one in EVERY])
def test_hidden_cases_are_those_of_the_whole_file(one):
    alone, whole = hidden_cases(one, 5), one.hidden.cases(5)
    assert [case.name for case in alone] == [case.name for case in whole]
    assert [wire.pack(case.given()) for case in alone] == [wire.pack(c.given()) for c in whole]


def test_hidden_cases_need_no_framework():
    program = (
        "import sys; from lablib.teach.exercise import every\n"
        "from lablib.grading.trial.grade_exercise import cases_of\n"
        "print(sum(len(cases_of(one, 1)) for one in every()))\n"
        "print({'torch', 'tensorflow'} & set(sys.modules))\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    count, frameworks = told.stdout.splitlines()
    assert int(count) > 2 * len(EVERY) and frameworks == "set()"


def test_the_command_says_what_it_wrote(base, capsys, monkeypatch):
    assert cli.main(["grade", str(base / "none"), "--lab", "3", "--out", str(base / "y"),
                     "--unsafe"]) == 2  # fmt: skip
    assert "The folder of submissions cannot be read." in capsys.readouterr().err


# --- pieces


def test_a_page_of_feedback_is_never_large(base):
    rows = pipeline.grade(asked(base))
    row = next(row for row in rows if row.id == "dot")
    graded = row.exercises["9.1"]
    claims = tuple(dict(graded.cases[0].claims[0], text=f"{n}" + "<" * 5000) for n in range(9000))
    many = replace(graded, cases=(replace(graded.cases[0], claims=claims),))
    large = replace(row, exercises=row.exercises | {"9.1": many})
    text = feedback.feedback(large, "09", {"9.1": "Mean", "9.2": "Double"})
    assert len(text.encode()) < 1_000_000 and "0 of 9000 claims hold" in text


def test_every_id_has_a_file_of_its_own_that_any_system_can_write(tmp_path):
    ids = ["\U00020000" * 80, "e\u0301", "\xe9", "Jane", "jane", "../x"]
    names = pipeline.file_names(ids)
    for identity in ids:
        write_completely(tmp_path / names[identity], identity)
    read_as = {unicodedata.normalize("NFC", name).casefold() for name in names.values()}
    assert len(read_as) == len(ids) == len(list(tmp_path.iterdir()))


def test_lateness_in_words():
    assert [str(Lateness(*given)) for given in ((0, 0), (1, 0.1), (2, 0.2))] == [
        "", "1 day late: -10%", "2 days late: -20%",
    ]  # fmt: skip

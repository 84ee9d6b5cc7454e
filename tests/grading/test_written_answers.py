"""A written answer is handed in, reaches the instructor's page, and gets its points by hand."""

from __future__ import annotations

import csv
import json
import zipfile
from dataclasses import replace

import course
import pytest
import written

import lablib as lab
from lablib import cli
from lablib.course import learners_copies, package, release
from lablib.errors import LabError
from lablib.grading import pipeline, submit
from lablib.grading.intake import safe_reading
from lablib.grading.results import feedback
from lablib.teach import written_questions
from lablib.teach.written_text import MOST_CHARACTERS

HTML = "<script>alert('x')</script> & more words than that, of course. <img src=x>"


def handed_in(answer, **more):
    """A notebook without any exercise done, so that nothing runs, with this written answer."""
    kept = {"lab": "09", "quizzes": {}, "predictions": [], "written": {"9.w1": answer}} | more
    return course.starter() | {"metadata": {"lablib": kept}}


CLASS = {
    "ann": handed_in(written.ANSWER),
    "bob": handed_in(""),
    "cid": handed_in(HTML),
    "dot": course.starter(),  # not made by submit
    "eve": b"{",
    "=fay": handed_in("zero\u200bwidth \u202eturned\ud800 \x1b[31m\u200dx"),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("written")
    written.plant(course.make(base / "course") / "labs/checks")
    course.plant(base / "class", CLASS)
    pipeline.grade(asked(base))
    return base


def asked(base, out="out", **more):
    return pipeline.Asked(base / "class", course.LAB, base / out, root=base / "course",
                         unsafe=True, seed=1, **more)  # fmt: skip


def table(out, name="grades.csv"):
    with open(out / name, newline="") as file:
        return list(csv.DictReader(file))


def by_id(out):
    return {row["id"]: row for row in table(out)}


# --- handing in


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A course, and a learner's copy of its lab."""
    monkeypatch.setenv("LABLIB_HOME", str(tmp_path / "home"))
    root = course.make(tmp_path / "course")
    written.plant(root / "labs/checks")
    learners_copies.bring(root)
    monkeypatch.setattr(written_questions.find, "__defaults__", (root / "labs/checks",))
    monkeypatch.delenv("LABLIB_GUESSES", raising=False)
    return root


def test_the_file_to_hand_in_has_the_answer_that_the_instructor_reads(root, tmp_path):
    lab.explain("9.w1", written.ANSWER)
    lab.explain("9.w2", "Only I read this text, and so I assess it.").assess(1, 3)
    report = submit.submit("9", tmp_path / "mine.ipynb", root)
    assert "9.w1  Post-mortem <i>: saved, to be read by the instructor" in str(report)
    assert "9.w2  Trade-off: self-assessed 3 of 4 (only you read it" in str(report)
    data = (tmp_path / "mine.ipynb").read_bytes()
    assert json.loads(data)["metadata"]["lablib"]["written"] == {"9.w1": written.ANSWER}
    assert safe_reading.read(data, [], None, ["9.w1"]).written_answers == {"9.w1": written.ANSWER}
    assert b"Only I read this text" not in data


def test_what_is_missing_is_said_and_nothing_is_handed_in_for_it(root, tmp_path):
    report = submit.submit("9", tmp_path / "mine.ipynb", root)
    assert "9.w1  Post-mortem <i>: not written yet" in str(report) and report.ok
    assert json.loads((tmp_path / "mine.ipynb").read_text())["metadata"]["lablib"]["written"] == {}


def test_an_answer_goes_all_the_way_to_the_instructors_page(root, tmp_path):
    _, entry, *_ = lab.explain("9.w1").widget().children
    entry.value = HTML  # typed, and never saved by the button
    (tmp_path / "class").mkdir()
    submit.submit("9", tmp_path / "class/ann.ipynb", root)
    pipeline.grade(asked(tmp_path))
    page = (tmp_path / "out/written.html").read_text()
    assert "of course. &lt;img src=x&gt;" in page and "<h3>ann</h3><p>to be read</p>" in page


# --- reading what anybody may have written into the file


def nested(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "kept, found",
    [
        ({"written": {"9.w1": "a b"}}, {"9.w1": "a b"}),
        ({"written": {"9.w1": " \u200b\x00 "}}, {}),
        ({"written": {"9.w1": ["a"], "9.w2": "for somebody else", "9.w10": "x", "": "x"}}, {}),
        ({"written": {"9.w1": {"text": "a"}}}, {}),
        ({"written": {"9.w1": 10**300}}, {}),
        ({"written": ["9.w1"]}, None),
        ({"written": "9.w1"}, None),
        ({"draft": True}, None),
        ([1], None),
        ("x", None),
    ],
)
def test_only_texts_that_answer_a_question_are_read(kept, found):
    book = course.starter() | {"metadata": {"lablib": kept}}
    reading = safe_reading.read(json.dumps(book).encode(), [], None, ["9.w1"])
    assert (reading.problem, reading.written_answers) == ("", found)


def test_a_text_that_is_too_long_is_cut():
    data = json.dumps(handed_in("x" * 15_000_000)).encode()
    (text,) = safe_reading.read(data, [], None, ["9.w1"]).written_answers.values()
    assert text.startswith("x" * MOST_CHARACTERS + "\n[The rest is not shown") and len(text) < 5100


def test_a_file_that_is_nested_too_deep_is_refused_and_not_read_forever():
    data = json.dumps(handed_in("DEEP")).replace('"DEEP"', nested(200_000)).encode()
    reading = safe_reading.read(data, [], None, ["9.w1"])
    assert reading.problem and reading.written_answers is None


# --- the grades


def test_an_answer_is_to_be_read_and_until_then_there_is_no_total(base):
    rows = by_id(base / "out")
    found = {name: (row["9.w1"], row["total"], row["of"], row["status"])
             for name, row in rows.items()}  # fmt: skip
    assert found == {
        "'=fay": ("to be read", "", "10", "to be read"),
        "ann": ("to be read", "", "10", "to be read"),
        "bob": ("0", "0", "10", "graded"),
        "cid": ("to be read", "", "10", "to be read"),
        "dot": ("0", "0", "10", "graded"),
        "eve": ("0", "0", "10", "unreadable"),
    }
    assert rows["bob"]["reason"].endswith("9.w1 not written")
    assert "lablib submit did not write it" in rows["dot"]["reason"]
    assert not [row["id"] for row in table(base / "out", "grades_nbgrader.csv")
                if row["student_id"] == "ann"]  # fmt: skip
    canvas = {row["Student"]: row["Lab 09"] for row in table(base / "out", "grades_canvas.csv")}
    assert canvas["ann"] == "" and canvas["bob"] == "0"


def test_exercises_csv_has_a_row_for_each_written_answer(base):
    rows = {row["id"]: row for row in table(base / "out", "exercises.csv")
            if row["exercise"] == "9.w1"}  # fmt: skip
    assert {name: (row["status"], row["points"], row["points by hand"]) for name, row in
            rows.items() if name in ("ann", "bob")} == {
        "ann": ("to be read", "", ""), "bob": ("not written", "0", ""),
    }  # fmt: skip


def test_the_instructor_reads_all_answers_to_a_question_one_after_the_other(base):
    page = (base / "out/written.html").read_text()
    question, ann, cid, without = (page.index(words) for words in (
        "Name the first wrong step.", "<h3>ann</h3>", "<h3>cid</h3>", "<h3>not written</h3>",
    ))  # fmt: skip
    assert question < ann < cid < without
    assert "bob, dot, eve" in page[without:]
    assert "Names the step &lt;b&gt; (1)" in page and "9.w2" not in page
    report = (base / "out/report.html").read_text()
    assert 'href="written.html"' in report and "3 to be read, 3 not written" in report


def test_the_learner_sees_question_rubric_and_answer(base):
    page = (base / "out/feedback/ann.html").read_text()
    for words in (
        "9.w1 · Post-mortem &lt;i&gt;",
        "your instructor will read this answer",
        "the server would get &lt;b&gt;",
        "Says why (3)",
        "not all graded yet",
    ):
        assert words in page


def test_nothing_that_a_learner_wrote_is_shown_unescaped(base):
    pages = [
        base / "out/written.html",
        base / "out/report.html",
        *(base / "out/feedback").iterdir(),
    ]
    for page in pages:
        text = page.read_text()
        assert "<script" not in text and "<img" not in text and "<i>" not in text
        assert not {"\u202e", "\u200b", "\x1b", "\ud800"} & set(text)
    assert "zerowidth turned [31m\u200dx" in (base / "out/written.html").read_text()
    assert "&lt;script&gt;" in (base / "out/written.html").read_text()  # the claim can fail


def test_a_page_of_feedback_stays_small(base):
    row = next(row for row in pipeline.grade(asked(base, "small")) if row.id == "ann")
    long = replace(row.written["9.w1"], text='"' * MOST_CHARACTERS)
    many = replace(row, written=dict.fromkeys(row.written, long))
    assert len(feedback.feedback(many, "09", {"9.1": "Mean", "9.2": "Double"})) < 100_000


def test_the_command_says_what_is_to_be_read(base, capsys, monkeypatch):
    rows = pipeline.grade(asked(base, "said"))
    monkeypatch.setattr(pipeline, "grade", lambda _: rows)
    assert cli.main(["grade", str(base / "class"), "--lab", "9", "--out", str(base / "said")]) == 0
    assert "Written answers to be read: 3." in capsys.readouterr().out


# --- points by hand


def fill_in(out, points):
    """Write points into the rows that the grader has prepared, as an instructor does."""
    rows = table(out, "overrides.csv")
    assert {row["exercise"] for row in rows} == {"9.w1"}
    assert [row["id"] for row in rows] == ["'=fay", "ann", "cid"]
    with open(out / "overrides.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "exercise", "points", "comment"])
        writer.writeheader()
        writer.writerows(row | points.get(row["id"], {}) for row in rows)


def test_points_by_hand_count_and_stay(base):
    pipeline.grade(asked(base, "hand"))
    out = base / "hand"
    fill_in(out, {"ann": {"points": "3.5", "comment": "=Why <b>?"}})
    for more in ({}, {}, {"regrade": True}):
        pipeline.grade(asked(base, "hand", **more))
        row = by_id(out)["ann"]
        assert (row["9.w1"], row["total"], row["status"]) == ("3.5", "3.5", "graded")
        assert row["comment"] == "9.w1: =Why <b>?" and "9.w1: points by hand" in row["reason"]
        assert by_id(out)["cid"]["9.w1"] == "to be read"
        (line,) = [row for row in table(out, "exercises.csv") if row["points by hand"]]
        assert (line["id"], line["points"], line["status"]) == ("ann", "3.5", "read")
    page = (out / "feedback/ann.html").read_text()
    assert "3.5 of 4 points: read" in page and "set by hand. =Why &lt;b&gt;?" in page
    assert "<p>3.5 of 4 points, by hand</p>" in (out / "written.html").read_text()
    assert len(table(out, "overrides.csv")) == 3  # the row that is filled in, and two to be read


def test_they_stay_when_grading_was_killed_before_it_wrote_the_grades(base, monkeypatch):
    pipeline.grade(asked(base, "killed"))
    fill_in(base / "killed", {"ann": {"points": "2"}})

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline._Grading, "_read", dies)
    with pytest.raises(KeyboardInterrupt):
        pipeline.grade(asked(base, "killed"))
    monkeypatch.undo()
    pipeline.grade(asked(base, "killed"))
    assert by_id(base / "killed")["ann"]["9.w1"] == "2"
    assert len(table(base / "killed", "overrides.csv")) == 3


def test_a_comment_alone_leaves_the_answer_to_be_read(base):
    pipeline.grade(asked(base, "comment"))
    fill_in(base / "comment", {"ann": {"comment": "Come and see me."}})
    pipeline.grade(asked(base, "comment"))
    assert by_id(base / "comment")["ann"]["9.w1"] == "to be read"
    assert "Come and see me." in (base / "comment/feedback/ann.html").read_text()
    assert len(table(base / "comment", "overrides.csv")) == 3


def test_every_answer_read_makes_every_total_whole(base):
    given = 'ann: {"9.w1": {points: 4}, "9.1": 4}\ncid: {"9.w1": 0}\n"=fay": {"9.w1": 1}\n'
    (base / "all.yaml").write_text(given)
    pipeline.grade(asked(base, "all", overrides=base / "all.yaml"))
    totals = {name: row["total"] for name, row in by_id(base / "all").items()}
    assert totals == {"'=fay": "1", "ann": "8", "bob": "0", "cid": "0", "dot": "0", "eve": "0"}
    assert {row["student_id"] for row in table(base / "all", "grades_nbgrader.csv")} == set(totals)


@pytest.mark.parametrize(
    "line, saw",
    [
        ("ann,9.w1,4.5,", "give at most 4 points for 9.w1"),
        ("ann,9.w1,-1,", "-1"),
        ("ann,9.w1,nan,", "nan"),
        ("ann,9.w2,1,", "no exercise '9.w2'"),  # learners assess this one themselves
        ("zed,9.w1,1,", "no submission of 'zed'"),
    ],
)
def test_points_that_cannot_be_are_said(base, line, saw):
    (base / "bad.csv").write_text(f"id,exercise,points,comment\n{line}\n")
    with pytest.raises(LabError, match="is not valid") as raised:
        pipeline.grade(asked(base, "bad", overrides=base / "bad.csv"))
    assert saw in str(raised.value) and not (base / "bad").exists()


# --- what a class gets


@pytest.fixture
def kit(tmp_path):
    root = course.make(tmp_path / "kit")
    written.plant(root / "labs/checks")
    release.release(root)
    return root


def test_a_package_has_model_answers_only_for_what_learners_assess(kit, tmp_path):
    assert release.complaints(kit) == []
    names = package.package(tmp_path / "class.zip", kit)
    assert "lab/labs/checks/09_written.toml" in names
    with zipfile.ZipFile(tmp_path / "class.zip") as archive:
        text = archive.read("lab/labs/checks/09_written.toml").decode()
    assert written.MODEL in text and text.count("answer =") == 1


def test_a_model_answer_that_gives_away_is_not_released(kit, tmp_path):
    path = kit / "labs/checks/09_written.toml"
    path.write_text(path.read_text().replace("points = 4", 'points = 4\nanswer = "Told."'))
    (told,) = release.complaints(kit)
    assert told.startswith("labs/checks/09_written.toml: 9.w1: it has a model answer")
    with pytest.raises(LabError, match="not ready for learners"):
        package.package(tmp_path / "class.zip", kit)
    assert not (tmp_path / "class.zip").exists()

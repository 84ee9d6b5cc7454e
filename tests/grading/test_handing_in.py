"""Submissions of learners and packages for a class: checked, complete, and without secrets."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import course
import lab_rules
import pytest

from lablib import cli
from lablib.computer.facts import ROOT
from lablib.course import authoring, leaks, learners_copies, package, release
from lablib.errors import LabError
from lablib.grading import submit
from lablib.grading.intake import safe_reading
from lablib.teach import progress, quizzes_file
from lablib.teach.exercise import every

QUIZ = """[a]
question = "Which?"
[[a.choices]]
text = "one"
why = "no"
[[a.choices]]
text = "two"
why = "yes"
right = true
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Make a course, and a learner's copy of its lab."""
    monkeypatch.setenv("LABLIB_HOME", str(tmp_path / "home"))
    root = course.make(tmp_path / "course")
    (root / "labs/checks/09_quizzes.toml").write_text(QUIZ)
    learners_copies.bring(root)
    return root


def write(root, book):
    (root / "my_labs/09_small.ipynb").write_text(json.dumps(book))


# --- submit


def test_the_file_to_hand_in_has_the_answers_the_quizzes_and_the_guesses(root, tmp_path):
    write(root, course.notebook(double="def double(x):\n    return 2 *"))
    progress.keep("quiz", "9.a", {"choice": 2, "right": True})
    progress.keep("quiz", "3.a", {"choice": 1, "right": True})
    progress.keep("prediction", "speed-up", {"guess": 3.0, "happened": 2.5, "error": 0.2})
    report = submit.submit("9", tmp_path / "mine.ipynb", root)
    assert not report.ok and "9.1  mean_of_all: found" in str(report)
    assert "9.2  double: syntax error; line 2 of cell exercise-9-2" in str(report)
    data = (tmp_path / "mine.ipynb").read_bytes()
    told = json.loads(data)["metadata"]["lablib"]
    assert told["predictions"] == [{"name": "speed-up", "guess": 3.0, "happened": 2.5}]
    found = safe_reading.read(data, every(root / "labs/checks", None, "09"))
    assert found.quizzes == {"9.a": 2}


def test_what_is_not_attempted_is_said_and_may_be_handed_in(root, tmp_path):
    report = submit.submit("09", tmp_path / "mine.ipynb", root)
    assert report.ok and str(report).count("not attempted") == 2


def test_outputs_that_are_too_large_are_left_out(root, tmp_path):
    book = course.notebook()
    for cell in book["cells"]:
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x" * 4_000_000}]
    write(root, book)
    report = submit.submit("09", tmp_path / "mine.ipynb", root)
    assert report.ok and "outputs were removed" in str(report)
    assert (tmp_path / "mine.ipynb").stat().st_size < 10_000


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_notebook_that_is_broken_is_not_handed_in(root, tmp_path, text):
    (root / "my_labs/09_small.ipynb").write_text(text)
    with pytest.raises(LabError, match="cannot be read"):
        submit.submit("09", tmp_path / "mine.ipynb", root)
    assert not (tmp_path / "mine.ipynb").exists()


@pytest.mark.parametrize("name", ["labs/09_small.ipynb", "my_labs/09_small.ipynb", "notes.txt"])
def test_the_file_to_hand_in_replaces_nothing_else(root, name):
    (root / "notes.txt").write_text("mine")
    before = (root / name).read_bytes()
    with pytest.raises(LabError, match="would be replaced"):
        submit.submit("09", root / name, root)
    assert (root / name).read_bytes() == before


def test_an_earlier_file_to_hand_in_is_replaced_but_not_if_it_is_the_notebook(root, tmp_path):
    out = tmp_path / "mine.ipynb"
    submit.submit("09", out, root)
    submit.submit("09", out, root)
    shutil.copy(out, root / "my_labs/09_small.ipynb")
    with pytest.raises(LabError, match="would be replaced"):
        submit.submit("09", root / "my_labs/09_small.ipynb", root)


def test_a_lab_that_was_never_opened_cannot_be_handed_in(root, tmp_path):
    with pytest.raises(LabError, match="no notebook of this lab"):
        submit.submit("08", tmp_path / "mine.ipynb", root)


def test_the_command_that_hands_in_says_so(monkeypatch, capsys, tmp_path):
    report = submit.SubmitReport(tmp_path / "x.ipynb", {}, ("a note",))
    monkeypatch.setattr(submit, "submit", lambda lab, out: report)
    assert cli.main(["submit", "3"]) == 0
    assert "a note" in capsys.readouterr().out


# --- reset of one exercise


def test_one_exercise_is_restored_and_the_rest_stays(root):
    write(root, course.notebook())
    said = learners_copies.reset("09", root, exercise="9.2")
    book = json.loads((root / "my_labs/09_small.ipynb").read_text())
    sources = {cell["id"]: cell["source"] for cell in book["cells"]}
    assert sources["exercise-9-1"] == course.MEAN and "not attempted" in sources["exercise-9-2"]
    assert said.startswith("Restored exercise 9.2 of my_labs/09_small.ipynb. Your version is now")
    kept = [path for path in (root / "my_labs").glob("*.ipynb") if path.stem != "09_small"]
    assert json.loads(kept[0].read_text()) == course.notebook()


@pytest.mark.parametrize(
    "book, exercise, wrong",
    [
        (course.notebook(), "9.7", "no such exercise"),
        (course.of(course.cell("x = 1")), "9.1", "no longer has"),
        ([], "9.1", "cannot be read"),
    ],
)
def test_what_cannot_be_restored_is_said_and_nothing_changes(root, book, exercise, wrong):
    write(root, book)
    with pytest.raises(LabError, match=wrong):
        learners_copies.reset("09", root, exercise=exercise)
    assert json.loads((root / "my_labs/09_small.ipynb").read_text()) == book


# --- packages for a class


SOLUTION = "total = sum(part.mean() for part in parts)"
HIDDEN = "rng = make_hidden_numbers(seed + 77, how_many=13)"


@pytest.fixture
def kit(tmp_path):
    """Make a kit whose solution and hidden case have recognisable lines."""
    root = course.make(tmp_path / "kit")
    text = (
        f"def mean_of_all(x, rank, ranks):\n    {release.BEGIN}\n    {SOLUTION}\n"
        f"    return total / len(parts)\n    {release.END}"
    )
    (root / "solutions/09_small.ipynb").write_text(json.dumps(course.notebook(mean=text)))
    with open(root / "solutions/hidden/9_1_mean.py", "a") as file:
        file.write(f"\ndef more(seed):\n    {HIDDEN}\n    return rng, seed + 77\n")
    (root / "README.md").write_text("# A kit\n")
    (root / "lablib").mkdir()
    (root / "lablib/__init__.py").write_text("")
    release.release(root)
    return root


def planted_in(cell, line):
    """Return ways to hide a line in a notebook."""
    yield "output", cell | {"outputs": [{"output_type": "stream", "name": "stdout", "text": line}]}
    yield "metadata", cell | {"metadata": {"note": {"deep": [line]}}}
    data = base64.b64encode(f"...{line}...".encode()).decode()
    yield (
        "attachment",
        cell | {"cell_type": "markdown", "attachments": {"a.png": {"image/png": data}}},
    )
    yield "source", cell | {"source": f"# {line}"}


@pytest.mark.parametrize("line, of", [(SOLUTION, "a solution"), (HIDDEN, "solutions/hidden")])
@pytest.mark.parametrize("way", ["output", "metadata", "attachment", "source"])
def test_a_line_that_tells_is_found_wherever_it_is(kit, line, of, way):
    assert release.complaints(kit) == []
    path = kit / "labs/09_small.ipynb"
    book = json.loads(path.read_text())
    book["cells"][0] = dict(planted_in(book["cells"][0], line))[way]
    path.write_text(json.dumps(book))
    assert f"labs/09_small.ipynb contains a line of {of}: {line}" in release.complaints(kit)
    with pytest.raises(LabError, match="not ready for learners"):
        package.package(kit / "out.zip", kit)


def test_a_file_beside_the_labs_may_not_tell_either(kit):
    (kit / "labs/img").mkdir()
    (kit / "labs/img/note.svg").write_text(f"<svg><!-- {HIDDEN} --></svg>")
    assert release.complaints(kit) == [
        f"labs/img/note.svg contains a line of solutions/hidden: {HIDDEN}"
    ]


TWO_LINES = {
    "a solution": f"{SOLUTION}\n    return total / len(parts)",
    "solutions/hidden": f"{HIDDEN}\n    return rng, seed + 77",
}


@pytest.mark.parametrize("of", TWO_LINES)
def test_a_check_may_share_a_line_with_an_answer_but_not_two(kit, of):
    check = kit / "labs/checks/9_1_mean.py"
    text = check.read_text()
    line, _, _ = TWO_LINES[of].partition("\n")
    check.write_text(f"{text}\ndef tell():\n    {line}\n")
    assert release.complaints(kit) == []
    check.write_text(f"{text}\ndef tell():\n    {TWO_LINES[of]}\n")
    (told,) = release.complaints(kit)
    assert told.startswith(f"labs/checks/9_1_mean.py contains a line of {of}: {line}")


def test_a_package_has_no_solution_and_is_the_same_every_time(kit, tmp_path):
    names = package.package(tmp_path / "one.zip", kit)
    package.package(tmp_path / "two.zip", kit)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert "lab/labs/09_small.ipynb" in names and "lab/labs/checks/9_1_mean.py" in names
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        for name in names:
            text = archive.read(name).decode()
            assert course.CANARY not in text and SOLUTION not in text and HIDDEN not in text


def test_a_package_with_an_answer_is_refused_and_not_written(kit, tmp_path):
    by_hand = (ROOT / "solutions/strategies/torch/ddp_by_hand.py").read_text()
    (kit / "solutions/strategies").mkdir()
    (kit / "solutions/strategies/by_hand.py").write_text(by_hand.replace('"3.2"', '"9.1"'))
    assert package.package(tmp_path / "one.zip", kit)
    (kit / "lablib/mine.py").write_text(by_hand.replace("bucket", "parcel"))
    with pytest.raises(LabError, match="give learners answers") as raised:
        package.package(tmp_path / "two.zip", kit)
    assert "lablib/mine.py answers exercise 3.5, 9.1: it contains 100%" in raised.value.saw
    assert not (tmp_path / "two.zip").exists()


@pytest.mark.timeout(300)
def test_the_kits_own_package_works_for_a_learner(tmp_path):
    names = package.package(tmp_path / "class.zip", ROOT)
    kept_back = {"solutions", "hidden", "tests"}
    project = "lab/lablib/ops/project/"  # a template with tests of its own
    own = [name for name in names if not name.startswith(project)]
    assert not [name for name in own if kept_back & set(Path(name).parts)]
    assert f"{project}.github/workflows/deliver.yml" in names
    with zipfile.ZipFile(tmp_path / "class.zip") as archive:
        archive.extractall(tmp_path)
    first = every()[0]
    code = (f"import lablib as lab; lab.check({first.number!r}); "
            "import lablib; print(lablib.__file__); "
            "from lablib import strategies; print(strategies.names())")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "lab", capture_output=True, text=True,
        env={"PYTHONPATH": str(tmp_path / "lab"), "PATH": "", "LABLIB_HOME": str(tmp_path / "h")},
        timeout=200,
    )  # fmt: skip
    assert "not attempted yet" in done.stdout, done.stderr
    assert str(tmp_path / "lab" / "lablib") in done.stdout
    assert "'gpipe'" in done.stdout and "'gpipe_by_hand'" not in done.stdout


# --- a new exercise


def a_solution(root):
    """Write one more solution: a kit without solutions would count as the learners' package."""
    (root / "solutions").mkdir()
    (root / "solutions" / "00_other.ipynb").write_text(json.dumps(course.starter()))


@pytest.mark.timeout(300)
def test_a_new_exercise_works_from_the_start(tmp_path, monkeypatch):
    from lablib.teach import checks, exercise

    monkeypatch.setenv("LABLIB_HOME", str(tmp_path / "home"))
    a_solution(tmp_path)
    said = authoring.begin("5.1", "top_k", "Send the largest", tmp_path)
    assert "solutions/05_top_k.ipynb" in said and "labs/checks/5_1_top_k.py" in said
    where = tmp_path / "labs/checks", tmp_path / "solutions/hidden"
    # The hidden half imports the public one from the kit's folder.
    monkeypatch.setattr(exercise, "CHECKS", where[0])
    monkeypatch.setattr(exercise.find, "__defaults__", where)
    (one,) = exercise.every(*where)
    assert one.title == "Send the largest" and len(one.hidden.RIGHT) == 2
    cases = one.module.cases(7) + one.hidden.cases(7)

    def points(answer):
        return checks.Result(one, tuple(checks.try_all(one, cases, (answer,)))).points

    assert [points(answer) for answer in one.hidden.RIGHT] == [one.points] * 2
    assert len(one.hidden.WRONG) >= 3
    assert all(points(answer) < one.points for answer in one.hidden.WRONG.values())


def test_new_exercises_are_cells_of_one_notebook(tmp_path):
    a_solution(tmp_path)
    authoring.begin("5.1", "top_k", "Send the largest", tmp_path)
    authoring.begin("5.2", "low_rank", "Send few columns", tmp_path)
    assert release.release(tmp_path) == ["00_other.ipynb", "05_top_k.ipynb"]
    assert release.complaints(tmp_path) == []
    exercises = every(tmp_path / "labs/checks", None)
    for folder, status in (("solutions", "found"), ("labs", "not attempted")):
        data = (tmp_path / folder / "05_top_k.ipynb").read_bytes()
        found = safe_reading.read(data, exercises, tmp_path / "labs/05_top_k.ipynb").answers
        assert {n: [a.status for a in answers] for n, answers in found.items()} == {
            "5.1": [status], "5.2": [status],
        }  # fmt: skip
        assert not any(answer.notes for answers in found.values() for answer in answers)


AUTHORED = [("05", "5.1", "top_k", "Send the largest"), ("04", "4.9", "a" * 40, "T" * 40),
            ("00", "0.2", "greet", "What's a rank?")]  # fmt: skip


@pytest.mark.parametrize("lab, number, name, title", AUTHORED)
def test_what_author_writes_is_in_the_style_of_the_kit(tmp_path, lab, number, name, title):
    for folder in ("labs", "solutions", "lablib"):
        shutil.copytree(ROOT / folder, tmp_path / folder,
                        ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    before = violations(tmp_path, lab)
    authoring.begin(number, name, title, tmp_path)
    changed = release.release(tmp_path)
    assert [file[:2] for file in changed] == [lab]
    for rule, messages in violations(tmp_path, lab).items():
        assert messages == before.get(rule)
    file = f"{number.replace('.', '_')}_{name}.py"
    written = [tmp_path / "labs/checks" / file, tmp_path / "solutions/hidden" / file]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--config", ROOT / "pyproject.toml", *written],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
    assert leaks.leaks(tmp_path, package.files(tmp_path)) == []


def violations(root, lab):
    """Return which rules the notebooks of a lab do not follow, with messages without places."""
    found = {}
    for folder in ("labs", "solutions"):
        for path in (root / folder).glob(f"{lab}_*.ipynb"):
            for rule, messages in lab_rules.violations(
                lab_rules.read(path, root / "labs/checks")
            ).items():
                found[folder, rule] = [re.sub(r"\bcell \d+", "cell", one) for one in messages]
    return found


def test_a_whole_lab_can_be_begun_exercise_by_exercise(tmp_path):
    a_solution(tmp_path)
    for number in range(1, 6):
        authoring.begin(f"7.{number}", f"task_{number}", root=tmp_path)
    assert violations(tmp_path, "07") == {}


def test_a_scaffold_that_is_no_draft_says_what_the_lab_lacks(tmp_path):
    a_solution(tmp_path)
    authoring.begin("7.1", "top_k", root=tmp_path)
    path = tmp_path / "solutions" / "07_top_k.ipynb"
    book = json.loads(path.read_text())
    del book["metadata"]["lablib"]
    path.write_text(json.dumps(book))
    assert violations(tmp_path, "07") == {
        ("solutions", "number of cells"): ["the lab has 17 cells: give it 50 to 100"],
        ("solutions", "number of guesses"): [
            "the lab asks for 1 guesses: ask 6 to 10 times with lab.predict"
        ],
        ("solutions", "number of exercises"): [
            "the lab has 1 core exercises: give it 4 to 6, and mark others with *stretch* in their "
            "heading"
        ],
    }


def test_the_quizzes_of_a_new_lab_can_be_asked(tmp_path):
    a_solution(tmp_path)
    authoring.begin("5.1", "top_k", root=tmp_path)
    assert quizzes_file.numbers(tmp_path / "labs/checks") == ["5.a"]
    assert len(quizzes_file.find("5.a", tmp_path / "labs/checks").choices) == 2


def test_no_lab_of_the_kit_is_a_draft_and_a_draft_is_known_by_its_metadata():
    books = {path.name: json.loads(path.read_text()) for folder in ("labs", "solutions")
             for path in (ROOT / folder).glob("*.ipynb")}  # fmt: skip
    finished = [book for name, book in books.items() if name[:2] in ("00", "01", "03", "04")]
    assert finished and not any(map(release.is_draft, finished))
    assert release.is_draft({"metadata": {"lablib": {"draft": True}}})


@pytest.mark.parametrize(
    "number, name",
    [
        ("five", "x"),
        ("5", "x"),
        ("5.1", "Top K"),
        ("5.1", "../x"),
        ("5.1", "class"),
        ("5.1", "lab"),
        ("5.1", "x" * 41),
    ],
)
def test_an_exercise_that_cannot_be_is_not_begun(tmp_path, number, name):
    with pytest.raises(LabError, match="a number, and a name"):
        authoring.begin(number, name, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_exercise_is_never_overwritten(tmp_path):
    a_solution(tmp_path)
    authoring.begin("5.1", "top_k", root=tmp_path)
    with pytest.raises(LabError, match="exists"):
        authoring.begin("5.1", "other", root=tmp_path)


@pytest.mark.parametrize("title", ["x" * 41, 'a "quoted" word', "two\nlines", "{braces}", "a\\b"])
def test_a_title_that_does_not_fit_is_refused_and_nothing_is_written(tmp_path, title):
    with pytest.raises(LabError, match="title"):
        authoring.begin("5.1", "top_k", title, tmp_path)
    assert list(tmp_path.iterdir()) == []

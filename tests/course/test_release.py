"""labs/ is made from solutions/ without any part of a solution; errors say where."""

from __future__ import annotations

import base64
import copy
import json
import os
import shutil
import subprocess
import sys

import pytest

from lablib import cli
from lablib.computer.facts import ROOT
from lablib.course import package, release
from lablib.errors import LabError

NAME = "07_example.ipynb"
SECRET = "total = sum(part.mean() for part in parts)"
EXERCISE = f"""def mean(parts):
    \"\"\"The mean of all parts.\"\"\"
    ### BEGIN SOLUTION
    {SECRET}
    return total / len(parts)
    ### END SOLUTION
"""


def code(source, **more):
    cell = {"cell_type": "code", "id": "c1", "metadata": {}, "source": source.splitlines(True)}
    return cell | {"execution_count": 3, "outputs": []} | more


def text(source, **more):
    cell = {"cell_type": "markdown", "id": "t1", "metadata": {}}
    return cell | {"source": source.splitlines(True)} | more


def stream(words):
    return {"output_type": "stream", "name": "stdout", "text": [words]}


def notebook(*cells, **metadata):
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def plant(root, book, folder="solutions"):
    for name in ("solutions", "labs"):
        (root / name).mkdir(exist_ok=True)
    (root / folder / NAME).write_text(json.dumps(book))


def released(root, book):
    """Return the lab that release makes of the notebook, read from its file."""
    plant(root, book)
    release.release(root)
    return json.loads((root / "labs" / NAME).read_text())


# --- the learners' copies


def test_a_solution_is_cut_out_and_what_is_left_says_so(tmp_path):
    lab = released(tmp_path, notebook(code(EXERCISE)))
    source = "".join(lab["cells"][0]["source"])
    assert SECRET not in source
    names = {}
    exec(source, names)
    with pytest.raises(NotImplementedError, match="not attempted yet"):
        names["mean"]([])


@pytest.mark.parametrize(
    "source, left",
    [
        ("x = 1\n### BEGIN SOLUTION\ny = 2\n### END SOLUTION\nz = 3",
         "x = 1\n# Your code here.\nz = 3"),
        ("for i in range(2):\n    ### BEGIN SOLUTION\n    print(i)\n    ### END SOLUTION",
         "for i in range(2):\n    # Your code here.\n"
         "    raise NotImplementedError(\"not attempted yet\")"),
        ("a = 1\n\n\nb = '### BEGIN'", "a = 1\n\n\nb = '### BEGIN'"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_stands_outside_the_markers_is_left_as_it_is(source, left):
    assert release.cut(source, "here")[0] == left


def test_what_varies_from_run_to_run_is_cleared(tmp_path):
    volatile = {"tags": ["raises-exception"], "execution": {"iopub.execute_input": "2026-01-01"}}
    book = notebook(
        code("1", metadata=volatile, outputs=[stream("1")]),
        widgets={"state": {}},
        language_info={"name": "python", "version": "3.11.2"},
    )
    lab = released(tmp_path, book)
    (cell,) = lab["cells"]
    assert cell["outputs"] == [] and cell["execution_count"] is None
    assert cell["metadata"] == {"tags": ["raises-exception"]}
    assert lab["metadata"].keys() == {"kernelspec", "language_info"}
    assert lab["metadata"]["language_info"] == {"name": "python"}


def test_a_lab_is_a_valid_notebook(tmp_path):
    import nbformat  # here, because collecting the tests imports this file in every worker

    lab = released(tmp_path, notebook(text("# A"), code(EXERCISE, outputs=[stream("1")])))
    nbformat.validate(lab)


def test_equal_solutions_give_equal_bytes(tmp_path):
    book = notebook(text("# Zürich"), code(EXERCISE))
    again = copy.deepcopy(book)
    again["cells"] = [dict(reversed(cell.items())) for cell in again["cells"]]
    again["cells"][1] |= {"execution_count": 99, "outputs": [stream("other")]}
    again["metadata"]["signature"] = "x"
    for folder, solution in (("one", book), ("two", again)):
        (tmp_path / folder).mkdir()
        released(tmp_path / folder, solution)
    one, two = ((tmp_path / folder / "labs" / NAME).read_bytes() for folder in ("one", "two"))
    assert one == two


def test_the_second_time_there_is_nothing_to_do(tmp_path):
    plant(tmp_path, notebook(code(EXERCISE)))
    assert release.release(tmp_path) == [NAME]
    assert release.release(tmp_path) == []


# --- no notebook is deleted before its replacement is written


def lab_without_solution(root):
    (root / "labs" / "08_other.ipynb").write_bytes((root / "labs" / NAME).read_bytes())


def test_a_lab_without_a_solution_is_removed_only_on_request_and_other_files_stay(tmp_path):
    released(tmp_path, notebook(code("1")))
    lab_without_solution(tmp_path)
    (tmp_path / "labs" / "notes.ipynb").write_text("{}")
    with pytest.raises(LabError, match="have no solution") as error:
        release.release(tmp_path)
    assert error.value.saw == "labs/08_other.ipynb" and "release --remove" in error.value.do
    assert (tmp_path / "labs" / "08_other.ipynb").exists()
    assert release.release(tmp_path, remove=True) == ["08_other.ipynb"]
    assert {path.name for path in (tmp_path / "labs").iterdir()} == {NAME, "notes.ipynb"}


def test_nothing_is_removed_when_a_lab_cannot_be_written(tmp_path, monkeypatch):
    released(tmp_path, notebook(code("1")))
    lab_without_solution(tmp_path)
    plant(tmp_path, notebook(code("2")))

    def full(path, content):
        raise LabError("The file cannot be written.")

    monkeypatch.setattr(release, "write_completely", full)
    with pytest.raises(LabError, match="cannot be written"):
        release.release(tmp_path, remove=True)
    assert {path.name for path in (tmp_path / "labs").iterdir()} == {NAME, "08_other.ipynb"}


def not_a_file(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("folder", ["solutions", "labs"])
@pytest.mark.parametrize("spoil", [not_a_file, lambda path: path.write_bytes(b"\xff")])
def test_a_notebook_that_cannot_be_read_is_named_and_nothing_is_removed(tmp_path, spoil, folder):
    released(tmp_path, notebook(code("1")))
    lab_without_solution(tmp_path)
    spoil(tmp_path / folder / NAME)
    with pytest.raises(LabError, match="is not a notebook") as error:
        release.release(tmp_path, remove=True)
    assert error.value.saw.startswith(f"{folder}/{NAME}: ")
    assert (tmp_path / "labs" / "08_other.ipynb").exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", "5", '{"cells": 5}', '{"cells": [{}]}',
                                  '{"cells": [], "metadata": 5}'])  # fmt: skip
def test_a_solution_that_is_no_notebook_is_named(tmp_path, text):
    released(tmp_path, notebook(code("1")))
    before = (tmp_path / "labs" / NAME).read_bytes()
    (tmp_path / "solutions" / NAME).write_text(text)
    with pytest.raises(LabError, match="is not a notebook") as error:
        release.release(tmp_path, remove=True)
    assert error.value.saw.startswith(f"solutions/{NAME}: ")
    assert (tmp_path / "labs" / NAME).read_bytes() == before


def test_a_package_replaces_no_notebook(tmp_path):
    released(tmp_path, notebook(code("1")))
    before = (tmp_path / "labs" / NAME).read_bytes()
    with pytest.raises(LabError, match="replaces only a zip"):
        package.package(tmp_path / "labs" / NAME, tmp_path)
    assert (tmp_path / "labs" / NAME).read_bytes() == before


@pytest.fixture(scope="module")
def learners_kit(tmp_path_factory):
    """Unpack the kit that a class gets: each file of `release --package`."""
    kit = tmp_path_factory.mktemp("class") / "lab"
    for path in package.files(ROOT):
        copy_of = kit / path.relative_to(ROOT)
        copy_of.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy_of)
    return kit


def contents(root):
    """Return every file of the kit, without Python's caches."""
    return {path: path.read_bytes() for path in root.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts}  # fmt: skip


def command(kit, *arguments):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lablib", *map(str, arguments)], cwd=kit.parent,
        env=os.environ | {"PYTHONPATH": str(kit)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


FOR_AUTHORS = {
    "release": "there are none here",
    "release --check": "there are none here",
    "release --remove": "there are none here",
    "release --run 00": "there are none here",
    "release --package {out}/class.zip": "there are none here",
    "author 5.1": "there are none here",
    "site --out {out}/site": "there are none here",
    "grade {out} --lab 03 --out {out}/../grades": "Grading needs the hidden cases",
}


@pytest.mark.parametrize("typed", FOR_AUTHORS)
def test_a_command_for_authors_refuses_in_the_learners_package(typed, learners_kit, tmp_path):
    before = contents(learners_kit)
    (tmp_path / "out").mkdir()
    status, printed = command(learners_kit, *typed.format(out=tmp_path / "out").split())
    assert status == 2 and FOR_AUTHORS[typed] in printed, printed
    assert contents(learners_kit) == before and list((tmp_path / "out").iterdir()) == []


def test_a_first_solution_in_that_package_does_not_cost_the_other_labs(learners_kit):
    (learners_kit / "solutions").mkdir()
    (learners_kit / "solutions" / "05_mine.ipynb").write_text(json.dumps(notebook(code("1"))))
    before = contents(learners_kit)
    status, printed = command(learners_kit, "release")
    assert status == 2 and "labs/00_start_here.ipynb" in printed
    status, printed = command(learners_kit, "release", "--check")
    assert status == 1 and "labs/00_start_here.ipynb has no solution" in printed
    assert contents(learners_kit) == before


# --- invalid markers


@pytest.mark.parametrize(
    "source, saw",
    [
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", "line 2: ### BEGIN SOLUTION"),
        ("x\n### END SOLUTION", "line 2: ### END SOLUTION"),
        ("x\n### BEGIN SOLUTION\ny", "line 2: ### BEGIN SOLUTION, and nothing that ends it"),
        ("### Begin Solution\n### End Solution", "line 1: ### Begin Solution"),
        ("###BEGIN SOLUTION\n### END SOLUTION", "line 1: ###BEGIN SOLUTION"),
        ("### BEGIN SOLUTION 2\n### END SOLUTION", "line 1: ### BEGIN SOLUTION 2"),
        ("### BEGIN SOLUTION\n### END SOLUTIONS", "line 2: ### END SOLUTIONS"),
    ],
)
def test_a_misplaced_marker_is_named_and_nothing_is_written(tmp_path, source, saw):
    plant(tmp_path, notebook(text("# A"), code(source)))
    with pytest.raises(LabError) as raised:
        release.release(tmp_path)
    assert f"solutions/{NAME}, cell 1, {saw}" in raised.value.saw
    assert list((tmp_path / "labs").iterdir()) == []


# --- --check


def test_a_fresh_release_has_no_complaints(tmp_path):
    released(tmp_path, notebook(text("# A"), code(EXERCISE)))
    assert release.complaints(tmp_path) == []


def changed_solution(root):
    plant(root, notebook(code(EXERCISE + "\n")))


def missing_lab(root):
    (root / "labs" / NAME).unlink()


def one_more_space(root):
    with open(root / "labs" / NAME, "a") as file:
        file.write("\n")


@pytest.mark.parametrize(
    "change, says",
    [
        (changed_solution, "is out of date: python -m lablib release"),
        (missing_lab, "is out of date: python -m lablib release"),
        (lab_without_solution, "has no solution: python -m lablib release --remove"),
        (one_more_space, "is out of date: python -m lablib release"),
    ],
)
def test_a_stale_lab_is_named(tmp_path, change, says):
    released(tmp_path, notebook(code(EXERCISE)))
    change(tmp_path)
    (complaint,) = release.complaints(tmp_path)
    assert complaint.endswith(says)


def with_extra(**places):
    """Return a lab that still has a line of the solution somewhere."""
    cells = [code(EXERCISE), places.get("cell") or text("more")]
    return notebook(*cells, **places.get("metadata", {}))


ENCODED = base64.b64encode(f"<svg><text>{SECRET}</text></svg>".encode()).decode()


@pytest.mark.parametrize(
    "book",
    [
        with_extra(cell=code(f"if True:\n    {SECRET.replace(' ', '  ')}")),
        with_extra(cell=text(f"A hint: `{SECRET}`")),
        with_extra(cell=code("mean", outputs=[stream(f"--> 3 {SECRET}")])),
        with_extra(cell=code("mean", metadata={"was": {"answer": SECRET}})),
        with_extra(cell=text("![plan](attachment:a.svg)",
                             attachments={"a.svg": {"image/svg+xml": ENCODED}})),
        with_extra(metadata={"answers": [SECRET]}),
    ],
    ids=["source", "text", "output", "metadata", "attachment", "metadata of the notebook"],
)  # fmt: skip
def test_a_line_of_a_solution_that_survives_in_a_lab_is_named(tmp_path, book):
    released(tmp_path, notebook(code(EXERCISE)))
    book["cells"][0] = json.loads((tmp_path / "labs" / NAME).read_text())["cells"][0]
    plant(tmp_path, book, folder="labs")
    assert f"labs/{NAME} contains a line of a solution: {SECRET}" in release.complaints(tmp_path)


@pytest.mark.parametrize("cell", [text(f"A hint: `{SECRET}`"), code(SECRET)])
def test_a_release_of_a_solution_that_tells_itself_outside_its_markers_fails(tmp_path, cell):
    released(tmp_path, notebook(code(EXERCISE), cell))
    assert release.complaints(tmp_path) == [f"labs/{NAME} contains a line of a solution: {SECRET}"]


def test_lines_that_anybody_may_write_do_not_count(tmp_path):
    lines = "import torch.distributed as dist\nreturn total\nloss.backward()"
    exercise = f"### BEGIN SOLUTION\n{lines}\n### END SOLUTION"
    released(tmp_path, notebook(code(exercise), text(lines)))
    assert release.complaints(tmp_path) == []


# --- the command


def test_the_command_writes_and_then_has_nothing_to_say(tmp_path, monkeypatch, capsys):
    plant(tmp_path, notebook(code(EXERCISE)))
    use(monkeypatch, tmp_path)
    assert cli.main(["release", "--check"]) == 1
    assert capsys.readouterr().out == f"labs/{NAME} is out of date: python -m lablib release\n"
    assert not (tmp_path / "labs" / NAME).exists()
    assert cli.main(["release"]) == 0
    assert capsys.readouterr().out == f"labs/{NAME}\n"
    assert cli.main(["release", "--check"]) == 0
    assert capsys.readouterr().out == ""


def test_a_misplaced_marker_is_asked_wrongly(tmp_path, monkeypatch, capsys):
    plant(tmp_path, notebook(code("### END SOLUTION")))
    use(monkeypatch, tmp_path)
    assert cli.main(["release"]) == 2
    assert f"solutions/{NAME}, cell 0, line 1" in capsys.readouterr().err


def use(monkeypatch, root):
    for function in (release.release, release.complaints):
        monkeypatch.setattr(function, "__defaults__", (root,))


def test_the_labs_in_this_repository_are_what_the_solutions_give():
    assert list((ROOT / "solutions").glob("*.ipynb"))
    assert release.complaints() == []

"""Every notebook runs whole in a fresh kernel, under nbval; it fails only where it says so.

Most cells of a lab are those of its solution. Where it makes no difference, they run once for both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from lab_in_solution import with_its_lab

from lablib.computer import facts

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = [
    path for name in ("solutions", "labs") for path in sorted((ROOT / name).glob("*.ipynb"))
]
# If there is a browser, `test_browser` runs these labs instead, with the same claims.
LABS_IN_A_BROWSER = ["00_start_here", "03_data_parallelism"]
IN_A_BROWSER = LABS_IN_A_BROWSER if facts.find_command("chromium") else []
CELL_WITHIN_S = 60
# Errors that a lab shows on purpose; they explain themselves.
LESSONS = {"LabError", "RankFailed", "ClusterHangs"}
# nbval compares outputs with the stored ones, but ignores stderr, and accepts a cell that may fail
# but does not. So a plugin records the output of each cell.
PLUGIN = """
import json, os
def pytest_runtest_teardown(item):
    cell = {"tags": item.cell.metadata.get("tags", []), "outputs": item.test_outputs or []}
    with open(os.environ["CELLS"], "a") as file:
        file.write(json.dumps(cell) + "\\n")
"""


def complaints(path: Path, folder: Path) -> list[str]:
    """Run the notebook, with `folder` for its files; return complaints, one line each."""
    status, printed, cells = lived(path, folder)
    return ([] if status == 0 else [printed]) + complaints_about(cells)


def complaints_about(cells: list[dict]) -> list[str]:
    """Return what is wrong with the outputs of code cells, one line each."""
    found = []
    for number, cell in enumerate(cells):
        errors = [o["ename"] for o in cell["outputs"] if o["output_type"] == "error"]
        tagged = "raises-exception" in cell["tags"]
        if tagged and not (len(errors) == 1 and LESSONS.issuperset(errors)):
            found.append(f"code cell {number} should fail with a lesson, and has {errors}")
        if errors and not tagged:
            found.append(f"code cell {number} failed with {errors}")
        for output in cell["outputs"]:
            if output.get("name") == "stderr":
                found.append(f"code cell {number} wrote to stderr: {output['text']}")
    return found


def lived(path, folder):
    """Run nbval; return its exit status and output, and the outputs of each code cell."""
    (folder / "record_cells.py").write_text(PLUGIN)
    (folder / "pytest.ini").write_text("[pytest]\n")
    # With this package, importing jsonschema takes 3 s: it compiles a grammar of web addresses.
    (folder / "rfc3987_syntax.py").write_text("raise ImportError")
    options = ["--nbval-lax", "--nbval-current-env", f"--nbval-cell-timeout={CELL_WITHIN_S}"]
    options += ["-p", "no:cacheprovider", "-p", "nbval.plugin", "-p", "record_cells"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-c", folder / "pytest.ini", path],
        env=os.environ | {
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
            "CELLS": str(folder / "cells"),
            # Settings of the user that would change the results, and files that a run leaves
            # behind.
            "IPYTHONDIR": str(folder),
            "LABLIB_HOME": str(folder / "home"),
        },
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    recorded = folder / "cells"
    lines = recorded.read_text().splitlines() if recorded.exists() else []
    return done.returncode, done.stdout + done.stderr, [json.loads(line) for line in lines]


def runs():
    """Yield a name and a notebook for each run: a solution, its lab, or both in one notebook."""
    for solution in sorted((ROOT / "solutions").glob("*.ipynb")):
        lab = ROOT / "labs" / solution.name
        both = with_its_lab(*(json.loads(path.read_text()) for path in (solution, lab)))
        if both:
            yield f"both/{solution.name}", both
        else:
            yield f"solutions/{solution.name}", solution
            if solution.stem not in IN_A_BROWSER:
                yield f"labs/{solution.name}", lab


RUNS = dict(runs())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", RUNS)
def test_a_notebook_runs_whole(name, tmp_path):
    """Run it in a folder of its own, because lab 06 makes a pipeline beside the notebook."""
    notebook = RUNS[name]
    path = tmp_path / Path(name).name
    path.write_text(json.dumps(notebook) if isinstance(notebook, dict) else notebook.read_text())
    assert complaints(path, tmp_path) == []


def test_there_is_a_lab_for_every_solution():
    names = {folder: {p.name for p in NOTEBOOKS if p.parent.name == folder} for folder in
             ("solutions", "labs")}  # fmt: skip
    assert names["solutions"] == names["labs"] and "00_start_here.ipynb" in names["labs"]


def notebook(*cells):
    """Return a notebook of code cells, each (source, tags...)."""
    return {
        "cells": [
            {"cell_type": "code", "execution_count": None, "id": str(number), "outputs": [],
             "metadata": {"tags": tags}, "source": source}
            for number, (source, *tags) in enumerate(cells)
        ],
        "metadata": {"kernelspec": {"display_name": "", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }  # fmt: skip


LESSON = "import lablib as lab; lab.Cluster(0)"
GOOD = [("x = 1",), (LESSON, "raises-exception"), ("print(x)",)]
SPOILT = [
    (LESSON,),
    ("y",),
    ("y", "raises-exception"),
    ("1", "raises-exception"),
    ("import sys; print('oh', file=sys.stderr)",),
]
COMPLAINTS = [
    "LabError: ranks must be a whole number",
    "NameError",
    "code cell 2 should fail with a lesson, and has ['NameError']",
    "code cell 3 should fail with a lesson, and has []",
    "code cell 4 wrote to stderr: oh",
]


@pytest.mark.parametrize("cells, expected", [(GOOD, []), (SPOILT, COMPLAINTS)])
def test_that_claim_can_fail(tmp_path, cells, expected):
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(notebook(*cells)))
    found = complaints(path, tmp_path)
    assert bool(found) == bool(expected)
    assert [text for text in expected if text not in "\n".join(found)] == []


HALF, UNTOUCHED = "def half(x):\n    return x / 2", "def half(x):\n    raise NotImplementedError"
CHECK = "try:\n    value = half(4)\nexcept NotImplementedError:\n    value = None"


def both_of(*shared, solved=HALF, untouched=UNTOUCHED):
    """The cells of a solution with its lab, whose first cell is an exercise's."""
    solution, lab = (notebook((own,), *((s,) for s in shared)) for own in (solved, untouched))
    both = with_its_lab(solution, lab)
    return both and [cell["source"] for cell in both["cells"]]


def test_a_cell_that_reads_an_exercises_name_runs_as_in_the_lab_and_as_in_the_solution():
    again = [UNTOUCHED, CHECK, HALF, CHECK]
    assert both_of("x = 4", CHECK, "print(x)") == [HALF, "x = 4", *again, "print(x)"]
    for reads in ("%time half(4)", "[half(x) for x in (2, 4)]", "def f():\n    return half(2)"):
        assert both_of(reads).count(reads) == 2


@pytest.mark.parametrize(
    "shared, own",
    [
        ([CHECK, "print(value)"], {}),
        ([CHECK, "def later():\n    return value"], {}),
        ([CHECK, "%timeit value + 1"], {}),
        (["x = 4"], {"solved": HALF + "\nx = half(4)"}),
        (["x = 4"], {"untouched": "%%writefile a.py\n" + UNTOUCHED}),
    ],
)
def test_a_lab_in_which_other_cells_find_other_values_runs_whole(shared, own):
    assert both_of(*shared, **own) is None


def test_a_lab_that_fails_where_its_solution_does_not_is_seen(tmp_path):
    solution, lab = (notebook((own,), ("half(4)",)) for own in (HALF, UNTOUCHED))
    for name, book in (("alone", solution), ("both", with_its_lab(solution, lab))):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(book))
    alone, both = (complaints(tmp_path / f"{name}.ipynb", tmp_path / name) for name in
                   ("alone", "both"))  # fmt: skip
    assert alone == [] and any("failed with ['NotImplementedError']" in text for text in both)

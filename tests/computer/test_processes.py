"""No process of the kit imports from the current folder, nor from a folder of submissions.

An instructor works in folders with learners' files. Each command here runs in a folder that has a
file for every module of Python and every installed package. Each of these files records that it was
imported.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys

import pytest
from grading import course

from lablib.computer import processes
from lablib.computer.facts import ROOT
from lablib.course import learners_copies

pytestmark = pytest.mark.timeout(100)
NOT_STANDARD = {"sitecustomize", "usercustomize", "triton", "cupy", "orjson", "simplejson"}
# Packages that the kit's processes import, but that no start of Python needs before the first line.
THIRD_PARTY = (
    "numpy msgpack torch psutil yaml cloudpickle pandas tqdm matplotlib tensorflow".split()
)
RECORDS = "open({canary!r}, 'a').write(__name__ + ' ')\n"
STARTER = f"{course.MEAN.splitlines()[0]}\n{course.STARTER}"
SAFE_FORMS = {
    "python -P": ["-P", "-m", "lablib"],
    "bin/lablib": ["-P", "-c", "import sys; from lablib.__main__ import run; sys.exit(run())"],
}


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """Make a small course with the library beside it, as an instructor has it."""
    root = course.make(tmp_path_factory.mktemp("kit"))
    shutil.copytree(ROOT / "lablib", root / "lablib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "datasets", root / "datasets")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root / name)
    (root / "my_labs").mkdir()
    (root / "my_labs" / "09_small.ipynb").write_text(json.dumps(course.notebook()))
    kernel = {"name": "python3", "display_name": "", "language": "python"}
    short = course.of(course.cell("print(1)"), kernelspec=kernel)
    (root / "solutions" / "08_short.ipynb").write_text(json.dumps(short))
    return root


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Make a folder with a submission, and with a file named like every module."""
    folder = tmp_path_factory.mktemp("submitted")
    names = set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions())
    # `-m lablib` needs its own file there: see below.
    plant(folder, (names | NOT_STANDARD) - {"lablib"})
    (folder / "jane.ipynb").write_text(json.dumps(course.notebook(STARTER)))
    return folder


def plant(folder, names):
    for name in names:
        if name.isidentifier():
            text = RECORDS.format(canary=str(folder / "canary"))
            (folder / f"{name}.py").write_text(text)


def imported(folder):
    """Return the modules of the folder that processes have imported since the last call."""
    canary = folder / "canary"
    names = canary.read_text().split() if canary.exists() else []
    canary.unlink(missing_ok=True)
    return sorted(set(names))


def run(arguments, folder, kit, path="", python=sys.executable):
    """Run Python in the folder; it finds the kit by PYTHONPATH."""
    return subprocess.run(
        [python, *arguments], cwd=folder, capture_output=True, text=True, timeout=90,
        env=os.environ | {"PYTHONPATH": f"{kit}{path}", "LABLIB_HOME": str(kit / "home")},
    )  # fmt: skip


COMMANDS = {
    "doctor --json": 0,
    "reset 09": 0,
    "submit 09 --out {out}/mine.ipynb": 0,
    "author 7.1": 0,
    "release --check": 1,
    "release --run 08": 0,
    "site --out {out}/site": 0,
    "compare --ranks 1 --strategies single --framework torch --steps 1 --out {out}/page": 0,
    "grade . --lab 09 --out {out}/grades": 0,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_nothing_from_the_folder_where_it_was_typed(
    command, kit, hostile, tmp_path
):
    arguments = command.format(out=tmp_path).split()
    done = run(["-m", "lablib", *arguments], hostile, kit)
    assert imported(hostile) == []
    assert done.returncode == COMMANDS[command], done.stdout + done.stderr


def test_that_claim_can_fail(kit, hostile):
    run(["-c", "import numpy"], hostile, kit)
    assert "numpy" in imported(hostile)


def test_jupyter_imports_nothing_from_the_folder_of_the_labs(hostile, kit):
    command = [*learners_copies.jupyter_command(browser=False, root=kit), "--version"]
    done = run(command[1:], hostile, kit)
    assert imported(hostile) == [] and done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [":", ":.", ":{here}", ":{here}/deeper/.."])
def test_nor_where_pythonpath_names_that_folder(path, kit, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    plant(here, THIRD_PARTY)
    arguments = ["submit", "09", "--out", str(tmp_path / "mine.ipynb")]
    done = run(["-m", "lablib", *arguments], here, kit, path.format(here=here))
    assert imported(here) == [] and done.returncode == 0, done.stderr


def test_grading_forgets_a_pythonpath_into_the_submissions(kit, tmp_path):
    """The path is inside of another folder, so the current folder makes no difference."""
    jane = tmp_path / "submitted" / "jane"
    jane.mkdir(parents=True)
    plant(jane, THIRD_PARTY)
    (jane / "x.ipynb").write_text(json.dumps(course.starter()))
    arguments = ["grade", str(jane.parent), "--lab", "09", "--out", str(tmp_path / "grades")]
    done = run(["-m", "lablib", *arguments], tmp_path, kit, f":{jane}")
    assert imported(jane) == [] and done.returncode == 0, done.stderr


@pytest.mark.parametrize("start", SAFE_FORMS.values(), ids=SAFE_FORMS)
def test_the_safe_forms_do_not_take_a_learners_lablib_for_the_kit(start, kit, tmp_path):
    plant(tmp_path, ["lablib", "importlib", "__future__"])
    done = run([*start, "--version"], tmp_path, kit)
    assert imported(tmp_path) == [] and done.stdout.startswith("lablib "), done.stderr


def test_the_console_script_is_that_entry_point():
    assert 'lablib = "lablib.__main__:run"' in (ROOT / "pyproject.toml").read_text()


PATH_OF_A_RANK = """
import os, sys, cloudpickle
from lablib.cluster.cluster import Cluster
from lablib.cluster.local.launch import zygote
sys.path.insert(0, "")  # as a notebook's kernel has it
os.chdir(sys.argv[1])
def work(me):
    import my_module
    return my_module.__file__
values = Cluster(2).run(work).values
with open(f"/proc/{zygote('torch').process.pid}/environ") as file:
    print(values, [one for one in file.read().split("\\0") if one.startswith("PYTHONPATH=")])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_rank_imports_what_its_notebook_could_and_the_zygote_does_not(kit, tmp_path):
    plant(tmp_path, ["my_module", "torch", "numpy", "msgpack", "psutil", "threadpoolctl"])
    program = ["-P", "-c", PATH_OF_A_RANK, str(tmp_path)]
    done = run(program, kit, kit, f":/nowhere:{tmp_path.name}:")
    values, path = [str(tmp_path / "my_module.py")] * 2, [f"PYTHONPATH={kit}:/nowhere"]
    assert done.stdout == f"{values} {path}\n", done.stderr
    assert imported(tmp_path) == ["my_module"]


def test_the_kits_own_folder_is_not_on_the_path_of_its_processes(kit):
    """The kit's folders may contain submissions, because people unpack them there."""
    plant(kit, ["numpy", "nbformat"])
    try:
        command = processes.command(
            "lablib.grading.intake.safe_reading", file=str(kit / "lablib/computer/processes.py")
        )
        done = subprocess.run(
            command, input=b'{"exercises": {}, "released": ""}\n{}', cwd=kit, timeout=60,
            capture_output=True, env={},
        )  # fmt: skip
        assert imported(kit) == [] and done.returncode == 0, done.stderr
    finally:
        for name in ("numpy", "nbformat"):
            (kit / f"{name}.py").unlink()

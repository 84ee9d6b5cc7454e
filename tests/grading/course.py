"""A course of one small lab, made for tests of grading: two exercises, short limits, no secrets.

9.1  mean_of_all(x, rank, ranks)   on 2 or 4 ranks; one claim on values, one on messages
9.2  double(x)                     on one rank
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from lablib.computer.facts import ROOT

LAB = "09"
TIMEOUT_S = 8
CANARY = "canary-7f3a"
_MEAN = """
import numpy as np
from lablib.teach.claims import Claim, equal_by_rank
from lablib.teach.exercise import Case
ANSWERS = ("mean_of_all(x, rank, ranks)",)
TITLE, POINTS = "Mean", 4
def cases(seed):
    return [case_of(seed, 2)]
def case_of(seed, ranks):
    rng = np.random.default_rng(seed)
    own = tuple({"x": rng.normal(size=4).astype(np.float32)} for _ in range(ranks))
    return Case(f"%d numbers on {ranks} ranks" % 4, own=own, ranks=ranks, timeout_s=TIMEOUT_S)
def observe(me, answer, given):
    import torch
    return answer(torch.from_numpy(given.x), me.rank, me.ranks)
def judge(case, seen):
    mean = sum(own["x"] for own in case.own) / case.ranks
    yield equal_by_rank("every rank has the mean", [mean] * case.ranks, seen.values, weight=3)
    calls = len(seen.collectives(0))
    yield Claim("in one collective", calls == 1, "1", str(calls), evidence="rank")
""".replace("TIMEOUT_S", str(TIMEOUT_S))
_DOUBLE = """
from lablib.teach.claims import equal
from lablib.teach.exercise import Case
ANSWERS = ("double(x)",)
TITLE, POINTS = "Double", 2
def cases(seed):
    return [Case(f"x = {x}", {"x": x}, timeout_s=TIMEOUT_S) for x in (2, 3)]
def observe(me, answer, given):
    return answer(given.x)
def judge(case, seen):
    yield equal("twice x", 2 * case.shared["x"], seen.values[0])
""".replace("TIMEOUT_S", str(TIMEOUT_S))
_HIDDEN_MEAN = """
import numpy as np
from lablib.teach.exercise import Case
def cases(seed):
    rng = np.random.default_rng(seed + 77)
    own = tuple({"x": rng.normal(size=4).astype(np.float32)} for _ in range(4))
    return [Case("SECRET-CASE on 4 ranks", own=own, ranks=4, timeout_s=TIMEOUT_S)]
# CANARY
""".replace("TIMEOUT_S", str(TIMEOUT_S)).replace("CANARY", CANARY)
_HIDDEN_DOUBLE = """
from lablib.teach.exercise import Case
def cases(seed):
    return [Case("SECRET-CASE x", {"x": 71077345}, timeout_s=TIMEOUT_S)]
# CANARY
""".replace("TIMEOUT_S", str(TIMEOUT_S)).replace("CANARY", CANARY)
MEAN = """def mean_of_all(x, rank, ranks):
    dist.all_reduce(x)
    return x / ranks"""
DOUBLE = "def double(x):\n    return 2 * x"
IMPORTS = "import torch\nimport torch.distributed as dist\n%matplotlib inline"
STARTER = '    # Your code here.\n    raise NotImplementedError("not attempted yet")'


def make(root: Path) -> Path:
    """Write the course and return its root folder."""
    files = {
        "labs/checks/9_1_mean.py": _MEAN,
        "labs/checks/9_2_double.py": _DOUBLE,
        "solutions/hidden/9_1_mean.py": _HIDDEN_MEAN,
        "solutions/hidden/9_2_double.py": _HIDDEN_DOUBLE,
        "labs/09_small.ipynb": json.dumps(starter()),
        "solutions/09_small.ipynb": json.dumps(starter()).replace("Your code", CANARY),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def with_one_public_case(root: Path) -> None:
    """Leave exercise 9.2 one public case, which is enough if all submissions answer alike."""
    check = root / "labs/checks/9_2_double.py"
    check.write_text(check.read_text().replace("in (2, 3)", "in (3,)"))


def cell(source, id="", **more):
    entry = {"cell_type": "code", "metadata": {}, "source": source, "outputs": [],
             "execution_count": None} | more  # fmt: skip
    return entry | ({"id": id} if id else {})


def of(*cells, **metadata):
    """Return a notebook with these cells."""
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def notebook(mean: str = MEAN, double: str = DOUBLE, *more) -> dict:
    """Return a notebook for submission: the imports, the two answers, and further cells."""
    return of(cell(IMPORTS, "imports"), cell(mean, "exercise-9-1"), cell(double, "exercise-9-2"),
              *more)  # fmt: skip


def starter() -> dict:
    return notebook(*(source.split("\n")[0] + "\n" + STARTER for source in (MEAN, DOUBLE)))


def plant(folder: Path, submissions: dict) -> Path:
    """Write submissions, {name: a notebook, bytes, or a function that makes the entry}."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in submissions.items():
        if callable(content):
            content(folder / name)
        else:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            (folder / f"{name}.ipynb").write_bytes(data)
    return folder


_GRADE = """
import json, sys
from pathlib import Path
from lablib.grading.pipeline import Asked, grade
base, out, more = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
grade(Asked(base / "class", "LAB", out, root=base / "course", **more))
""".replace("LAB", LAB)


def start_grading(base: Path, out: str, **more) -> subprocess.Popen:
    """Start a process that grades the class in `base`."""
    command = [sys.executable, "-c", _GRADE, str(base), str(base / out), json.dumps(more)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})


def kill_after(process: subprocess.Popen, out: Path, results: int) -> list[psutil.Process]:
    """Kill the process after it has stored `results` results; return its child processes."""
    while len(list(out.glob("results/*.json"))) < results and process.poll() is None:
        time.sleep(0.02)
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return started

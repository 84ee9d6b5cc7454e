"""A notebook's definitions exist on the ranks as in the notebook: same names, same objects."""

from __future__ import annotations

import ast
import linecache
import sys
import types
from pathlib import Path

import pytest

import lablib as lab
from lablib.cluster import definitions

CELLS = Path(__file__).with_name("cells.py")
JOBS = [f.name for f in ast.parse(CELLS.read_text()).body if getattr(f, "name", "")[:4] == "job_"]


@pytest.fixture(scope="module")
def notebook():
    """A module `__main__` in which the cells have run."""
    main, before = types.ModuleType("__main__"), sys.modules["__main__"]
    sys.modules["__main__"] = main
    try:
        exec(compile(CELLS.read_text(), "ipykernel_1/1.py", "exec"), vars(main))
        yield main
    finally:
        sys.modules["__main__"] = before
        linecache.checkcache()


@pytest.mark.parametrize("job", JOBS)
def test_what_a_cell_defines_is_there_on_a_rank(notebook, job):
    run = lab.Cluster(2, timeout_s=60).run(getattr(notebook, job))
    assert run.values == [True, True]


def test_only_what_the_function_uses_is_sent(notebook):
    names = definitions.packed(notebook.job_an_exception)
    assert b"Failure" in names and b"Metric" not in names


def test_a_cell_that_ran_twice_sends_its_last_definitions(notebook, monkeypatch):
    old = notebook.Metric
    exec("class Metric:\n    new = True", vars(notebook))
    monkeypatch.setattr(notebook, "old", old, raising=False)
    exec("def newest(me):\n    return Metric.new, hasattr(old, 'new')", vars(notebook))
    try:
        assert lab.Cluster(2).run(notebook.newest).values == [(True, False)] * 2
    finally:
        notebook.Metric = old


@pytest.mark.parametrize(
    "made, drawn",
    [
        ("np.random.default_rng()", "rng.random()"),
        ("np.random.RandomState()", "rng.random_sample()"),
        ("random.Random()", "rng.random()"),
        ("torch.Generator()", "torch.rand(1, generator=rng).item()"),
    ],
)
def test_a_note_says_once_that_a_generator_of_the_notebook_is_copied(notebook, made, drawn, capsys):
    code = f"import random\nrng = {made}\ndef draw(me):\n    return {drawn}"
    exec(code, vars(notebook))
    one, other = lab.Cluster(2).run(notebook.draw).values
    assert one == other
    assert "copy of the random generator rng, so all ranks draw" in capsys.readouterr().out
    lab.Cluster(2).run(notebook.draw)
    assert "Note" not in capsys.readouterr().out


def test_no_note_about_a_generator_made_in_the_function(notebook, capsys):
    code = "def draw(me):\n    rng = np.random.default_rng()\n    return rng.random()"
    exec(code, vars(notebook))
    one, other = lab.Cluster(2).run(notebook.draw).values
    assert one != other and "Note" not in capsys.readouterr().out

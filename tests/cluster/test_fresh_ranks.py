"""A rank is like a newly started process: own random numbers and the current environment."""

from __future__ import annotations

from functools import partial

import fresh_jobs
import pytest

import lablib as lab


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_unseeded_random_numbers_differ_between_ranks_and_between_runs(framework):
    cluster = lab.Cluster(2, framework=framework)
    drawn = [one for _ in range(2) for one in cluster.run(fresh_jobs.draws).values]
    alike = [name for name in drawn[0] if len({str(one[name]) for one in drawn}) < 4]
    assert alike == []


def test_seeded_ones_do_not():
    first, second = (lab.Cluster(2).run(fresh_jobs.seeded).values for _ in range(2))
    assert first == second and first[0] == first[1]


def test_the_environment_of_the_notebook_reaches_every_run_and_a_ranks_own_names_win(monkeypatch):
    cluster, names = lab.Cluster(2), ["OF_A_CELL", "RANK", "OMP_NUM_THREADS"]
    job = partial(fresh_jobs.environment, names=names)
    before = cluster.run(job).values
    monkeypatch.setenv("OF_A_CELL", "\udce4 value")  # not valid text, as a path may be
    monkeypatch.setenv("RANK", "9")
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    during = cluster.run(job).values
    monkeypatch.undo()
    assert [seen["OF_A_CELL"] for seen in before] == ["None", "None"]
    assert during == [seen | {"OF_A_CELL": ascii("\udce4 value")} for seen in before]
    assert cluster.run(job).values == before

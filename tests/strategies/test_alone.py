"""A rank 0 that does all the work, while the others take its weights, passes as no strategy."""

from __future__ import annotations

from functools import cache, partial

import data_twins
import pytest

import lablib as lab
from lablib import strategies

RANKS = 4
TASK = lab.tasks.get("digits-mlp")
ALL = {name: strategies.get(name, "torch").STRATEGY for name in strategies.names("torch")}
TOGETHER = [name for name, its in ALL.items() if its.synchronous and its.family != "single"]


@cache
def rank_0_alone():
    job = strategies.Job(TASK, 3, TASK.batch)
    twin = partial(data_twins.rank_0_works_alone, job=job)
    return lab.Cluster(RANKS, hardware="dgx-a100").run(twin)


def test_what_rank_0_learns_alone_is_right():
    one = lab.train("single", task=TASK, steps=3, progress=False).history.loss
    losses, _ = rank_0_alone().values[0]
    assert losses == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("name", TOGETHER)
def test_but_no_strategy_takes_it_for_its_own(name):
    assert strategies.get(name).expected(TASK, RANKS, TASK.batch).complaints(rank_0_alone())

"""Every torch strategy computes on the device of its rank, which `fake_device` simulates."""

from __future__ import annotations

import inspect
import re
from functools import partial

import fake_device
import pytest
from fake_device import BATCH, MODEL

import lablib as lab
from lablib import strategies
from lablib.cluster.failures import RankFailed

TASK = lab.tasks.get("digits-mlp")
STRATEGIES = strategies.names("torch")


def train(name, forgets=()):
    described = strategies.get(name, "torch").STRATEGY
    job = strategies.Job(TASK, 2, TASK.batch, 0, described.chosen({}))
    function = partial(fake_device.train, name=name, job=job, forgets=forgets)
    return lab.Cluster(described.least_ranks).run(function)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_moves_its_model_and_its_batches_and_brings_its_results_back(name):
    first, *_ = train(name).values
    assert set(first) == {"losses", "weights"}


@pytest.mark.parametrize("forgets", [MODEL, BATCH])
@pytest.mark.parametrize("name", ["single", "ddp", "gpipe_by_hand"])
def test_a_strategy_that_forgets_to_move_something_fails(name, forgets):
    with pytest.raises(RankFailed, match="meta"):
        train(name, [forgets])


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_does_not_name_a_device(name):
    assert devices_named_in(inspect.getsource(strategies.get(name, "torch"))) == []


def devices_named_in(source):
    return re.findall(r"""["'](?:cpu|cuda)\b""", source)


def test_that_claim_can_fail():
    assert devices_named_in('mesh = init_device_mesh("cpu", (2,))')

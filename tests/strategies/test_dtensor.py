"""DTensor in TensorFlow: sharded, tensor, data x model. By what a rank holds of the weights and by
the collectives of the functions into which TensorFlow turns a step."""

from __future__ import annotations

from collections import Counter
from functools import cache, partial

import dtensor_program
import numpy as np
import pytest

import lablib as lab
from lablib import strategies
from lablib.strategies import Job, column_row, dense_dtensor

STEPS = 3
TOGETHER = 1e-4
CASES = [
    ("dtensor_sharded", 1),
    ("dtensor_sharded", 2),
    ("dtensor_sharded", 4),
    ("dtensor_tensor", 2),
    ("dtensor_tensor", 4),
    ("dtensor_data_model", 4),
]


@cache
def trained(name, ranks):
    return lab.train(
        name, framework="tensorflow", task="digits-mlp", ranks=ranks, steps=20, threads=1,
        timeout_s=120, progress=False,
    )  # fmt: skip


def apart(a, b):
    return np.abs(np.subtract(a, b)).max() / np.abs(b).max()


@pytest.mark.parametrize("name, ranks", CASES)
def test_it_trains_as_the_single_process(name, ranks):
    history, one = trained(name, ranks).history, trained("single", 1).history
    assert history.loss == pytest.approx(one.loss, rel=TOGETHER)
    assert history.weights.keys() == one.weights.keys()
    assert max(apart(history.weights[name], one.weights[name]) for name in one.weights) < TOGETHER


def held_bytes(name, ranks):
    """What a rank holds of the weights."""
    task = lab.tasks.get("digits-mlp")
    if name == "dtensor_sharded":
        arrays = task.weights().values()
        return sum(a.nbytes if len(a) % ranks else a.nbytes // ranks for a in arrays)
    return column_row.weight_bytes(task, 2 if name == "dtensor_data_model" else ranks)


@pytest.mark.parametrize("name, ranks", CASES)
def test_a_rank_holds_its_part_of_the_weights(name, ranks):
    seen = [logged[-1]["held_bytes"] for logged in trained(name, ranks).logged]
    assert seen == [held_bytes(name, ranks)] * ranks
    assert ranks == 1 or max(seen) < 0.51 * lab.tasks.get("digits-mlp").weight_bytes


def step_of(name, ranks, task="digits-mlp", change=lambda: None):
    task = lab.tasks.get(task)
    job = Job(task, STEPS, task.batch)
    step = partial(dtensor_program.of_step, job=job, name=name, change=change)
    cluster = lab.Cluster(ranks, framework="tensorflow", threads=1, timeout_s=120)
    return cluster.run(step).values


def messages(name, ranks, **asked):
    """As `Expected` has them: name -> (calls, payload bytes), of all ranks together."""
    calls, nbytes = Counter(), Counter()
    for value in step_of(name, ranks, **asked):
        for kind, (times, size) in value["messages"].items():
            calls[kind] += times
            nbytes[kind] += size
    return {kind: (calls[kind], nbytes[kind]) for kind in calls}


def expected(name, ranks, task="digits-mlp"):
    task = lab.tasks.get(task)
    return strategies.get(name, "tensorflow").expected(task, ranks, task.batch).messages


@pytest.mark.parametrize("task", ["digits-mlp", "wide-mlp"])
@pytest.mark.parametrize("name, ranks", CASES[1:])
def test_a_step_sends_what_its_closed_form_says(name, ranks, task):
    assert messages(name, ranks, task=task) == expected(name, ranks, task)


def nothing_is_cut():
    train = dense_dtensor.train

    def whole(me, job, mesh, cuts, *args, **options):
        return train(me, job, mesh, dict.fromkeys(cuts, {}), *args, **options)

    dense_dtensor.train = whole


def everybody_sees_the_whole_batch():
    train = dense_dtensor.train

    def on_all_the_data(me, job, mesh, cuts, samples_along, gather=False):
        return train(me, job, mesh, cuts, samples_along=None, gather=gather)

    dense_dtensor.train = on_all_the_data


def rows_without_columns():
    """The first layer of each pair is whole on every rank: its outputs must be cut up first."""
    cut_axes = column_row.cut_axes
    column_row.cut_axes = lambda task: {
        name: axis for name, axis in cut_axes(task).items() if name.endswith("kernel") and not axis
    }


@pytest.mark.parametrize(
    "name, ranks, change",
    [
        ("dtensor_sharded", 2, nothing_is_cut),
        ("dtensor_sharded", 2, everybody_sees_the_whole_batch),
        ("dtensor_tensor", 2, nothing_is_cut),
        ("dtensor_tensor", 2, rows_without_columns),
        ("dtensor_data_model", 4, nothing_is_cut),
        ("dtensor_data_model", 4, everybody_sees_the_whole_batch),
    ],
)
def test_that_closed_form_can_be_missed(name, ranks, change):
    assert messages(name, ranks, change=change) != expected(name, ranks)


def a_loss_summed_over_the_ranks():
    from dataclasses import replace

    train = dense_dtensor.train

    def summed(me, job, mesh, *args, **options):
        steeper = replace(job.task, lr=job.task.lr * me.ranks)
        return train(me, replace(job, task=steeper), mesh, *args, **options)

    dense_dtensor.train = summed


@pytest.mark.parametrize("name", ["dtensor_sharded", "dtensor_tensor"])
def test_a_sum_instead_of_a_mean_learns_something_else(name):
    one = trained("single", 1).history.loss
    losses = step_of(name, 2, change=a_loss_summed_over_the_ranks)[0]["losses"]
    assert losses[0] == pytest.approx(one[0], rel=TOGETHER)
    assert losses[2] != pytest.approx(one[2], rel=10 * TOGETHER)


WRONG = [
    (dict(strategy="dtensor_sharded", ranks=2, hardware="dgx-a100"), "past everything"),
    (dict(strategy="dtensor_sharded", ranks=2, task="digits-cnn"), "dense ones only"),
    (dict(strategy="dtensor_tensor", ranks=2, task="bytes-gpt"), "dense ones only"),
    (dict(strategy="dtensor_tensor", ranks=3), "not a multiple of 3"),
    (dict(strategy="dtensor_tensor", ranks=1), "ranks=1"),
    (dict(strategy="dtensor_data_model", ranks=5, batch=60), "5 is not a multiple of 2"),
]


@pytest.mark.parametrize("asked, seen", WRONG, ids=[seen for _, seen in WRONG])
def test_what_cannot_be_is_said(asked, seen):
    with pytest.raises(lab.LabError) as caught:
        lab.train(framework="tensorflow", **dict(task="digits-mlp") | asked)
    assert seen in caught.value.saw

"""DTensor in TensorFlow: sharded, tensor, and data x model parallelism.

They are tested by the bytes that a rank holds, and by the collectives in the functions of a step.
"""

from __future__ import annotations

from functools import cache, partial

import dtensor_twins as twins
import numpy as np
import pytest
from allocations import SETTINGS
from alone import in_the_usual_order, printed_by

import lablib as lab
from lablib import strategies
from lablib.strategies import column_row

pytestmark = pytest.mark.timeout(300)
CASES = twins.CASES
TOGETHER = 1e-4


@cache
def trained(name, ranks):
    return lab.train(
        name, framework="tensorflow", task="digits-mlp", ranks=ranks, steps=20, threads=1,
        timeout_s=120, progress=False,
    )  # fmt: skip


def apart(a, b):
    return np.abs(np.subtract(a, b)).max() / np.abs(b).max()


@pytest.mark.parametrize("name, ranks", [("dtensor_sharded", 1), *CASES])
def test_it_trains_as_the_single_process(name, ranks):
    history, one = trained(name, ranks).history, trained("single", 1).history
    assert history.loss == pytest.approx(one.loss, rel=TOGETHER)
    assert history.weights.keys() == one.weights.keys()
    assert max(apart(history.weights[name], one.weights[name]) for name in one.weights) < TOGETHER


def held_bytes(name, ranks):
    """Return the bytes of weights that a rank holds."""
    task = lab.tasks.get("digits-mlp")
    if name == "dtensor_sharded":
        arrays = task.weights().values()
        return sum(a.nbytes if len(a) % ranks else a.nbytes // ranks for a in arrays)
    return column_row.weight_bytes(task, 2 if name == "dtensor_data_model" else ranks)


@pytest.mark.parametrize("name, ranks", [("dtensor_sharded", 1), *CASES])
def test_a_rank_holds_its_part_of_the_weights(name, ranks):
    seen = [logged[-1]["held_bytes"] for logged in trained(name, ranks).logged]
    assert seen == [held_bytes(name, ranks)] * ranks
    assert ranks == 1 or max(seen) < 0.51 * lab.tasks.get("digits-mlp").weight_bytes


@cache
def steps(task, *chosen, attempt=0):
    """Run all cases of a task, or the chosen ones, in one process: TensorFlow's import is slow."""
    script = "strategies/dtensor_twins.py"
    return printed_by(script, task, *chosen, settings=SETTINGS, timeout_s=250)


def step_of(*run, task="digits-mlp", attempt=0):
    key = twins.key(*run)
    return steps(task, key, attempt=attempt)[key] if attempt else steps(task)[key]


def expected(name, ranks, task="digits-mlp"):
    task = lab.tasks.get(task)
    return strategies.get(name, "tensorflow").expected(task, ranks, task.batch)


def messages(*run, task="digits-mlp"):
    return {name: tuple(sent) for name, sent in step_of(*run, task=task)["messages"].items()}


def memory_complaints(name, ranks, *twin, task="digits-mlp", attempt=0):
    step = step_of(name, ranks, *twin, task=task, attempt=attempt)
    held_bytes = step["most_bytes"]["last_step"]
    return expected(name, ranks, task).memory_complaints(held_bytes)


@pytest.mark.parametrize("task", ["digits-mlp", "wide-mlp"])
@pytest.mark.parametrize("name, ranks", CASES)
def test_a_step_sends_what_its_closed_form_says(name, ranks, task):
    assert messages(name, ranks, task=task) == expected(name, ranks, task).messages


# Without four ranks on `digits-mlp`: see `expected` of the strategy.
HELD = [("digits-mlp", "dtensor_sharded", 1), ("digits-mlp", "dtensor_sharded", 2)]
HELD += [("digits-mlp", *case) for case in CASES if case[0] != "dtensor_sharded"]
HELD += [("wide-mlp", *case) for case in CASES]


@pytest.mark.parametrize("task, name, ranks", HELD)
def test_the_fullest_rank_holds_what_the_closed_form_says(task, name, ranks):
    complaints = partial(memory_complaints, name, ranks, task=task)
    assert in_the_usual_order(lambda attempt: complaints(attempt=attempt)) == []


def placed_over_its_parts(name, ranks, *twin):
    """Return the most bytes before the first step, relative to a rank's weights and momenta."""
    parts = 2 if name == "dtensor_data_model" else ranks
    begins = step_of(name, ranks, *twin, task="wide-mlp")["most_bytes"]["begins"]
    return begins * parts / (2 * lab.tasks.get("wide-mlp").weight_bytes)


@pytest.mark.parametrize("name, ranks", CASES)
def test_placing_the_weights_takes_no_more_than_a_ranks_parts(name, ranks):
    assert 0.5 < placed_over_its_parts(name, ranks) < 1.1


def test_that_claim_can_fail_where_nothing_is_cut():
    assert placed_over_its_parts("dtensor_sharded", 2, twins.nothing_is_cut) > 1.1


@pytest.mark.parametrize(
    "task, run",
    [
        ("wide-mlp", ("dtensor_sharded", 2, twins.nothing_is_cut)),
        ("digits-mlp", ("dtensor_sharded", 2, twins.everybody_sees_the_whole_batch)),
        ("digits-mlp", ("dtensor_tensor", 2, twins.nothing_is_cut)),
        ("digits-mlp", ("dtensor_tensor", 2, twins.rows_without_columns)),
        ("digits-mlp", ("dtensor_data_model", 4, twins.nothing_is_cut)),
        # For data x model with the whole batch, memory shows no mistake, but messages do.
    ],
    ids=lambda of: of if isinstance(of, str) else twins.key(*of),
)
def test_a_twin_that_holds_more_is_seen(task, run):
    assert memory_complaints(*run, task=task)


@pytest.mark.parametrize(
    "run",
    [run for run in twins.TWINS if run[2] is not twins.a_loss_summed_over_the_ranks],
    ids=lambda run: twins.key(*run),
)
def test_that_closed_form_of_messages_can_be_missed(run):
    name, ranks, _ = run
    assert messages(*run) != expected(name, ranks).messages


@pytest.mark.parametrize("name", ["dtensor_sharded", "dtensor_tensor"])
def test_a_sum_instead_of_a_mean_learns_something_else(name):
    one = trained("single", 1).history.loss
    losses = step_of(name, 2, twins.a_loss_summed_over_the_ranks)["losses"]
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

"""Tensor parallelism: a part of every layer on each rank, two all-reduces for each pair."""

from __future__ import annotations

from functools import cache, partial

import pytest
from torch import nn

import lablib as lab
from lablib import strategies
from lablib.strategies import Job, column_row
from lablib.strategies.torch import single, tensor_parallel_by_hand

STEPS = 3
MORE_STEPS = 10  # a small mistake needs more steps to show in the loss
NAMES = ["tensor_parallel", "tensor_parallel_by_hand"]


@cache
def modelled(name, task, ranks, steps=STEPS):
    return lab.train(name, task=task, ranks=ranks, steps=steps, hardware="dgx-a100", progress=False)


def expected(name, task, ranks):
    task = lab.tasks.get(task)
    return strategies.get(name, "torch").expected(task, ranks, task.batch)


@pytest.mark.parametrize("task, ranks", [("digits-mlp", 2), ("digits-mlp", 4), ("bytes-gpt", 2)])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_sends_and_holds_what_the_closed_form_says(name, task, ranks):
    assert expected(name, task, ranks).complaints(modelled(name, task, ranks)) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_outputs_are_summed_forward_and_the_gradients_backward(name):
    task = lab.tasks.get("bytes-gpt")
    run = modelled(name, task.name, 2)
    last = run.trace.of(rank=0, kind="step")[-1]
    phases = [
        event.phase
        for event in run.trace.of(rank=0, kind="message", name="all_reduce")
        if event.start_s >= last.start_s
    ]
    blocks = len(column_row.pairs(task))
    assert phases == ["forward"] * blocks + ["backward"] * blocks


def test_what_a_rank_holds_of_the_cut_layers_falls_with_the_ranks():
    task = lab.tasks.get("wide-mlp")
    whole, half, quarter = (column_row.weight_bytes(task, ranks) for ranks in (1, 2, 4))
    assert whole == task.weight_bytes
    # All weights except the biases of the second layers, which every rank holds.
    assert half - quarter == pytest.approx((whole - half) / 2)
    assert half < 0.51 * whole


def outputs_not_summed(me, job):
    """Each rank continues with its own part of every sum."""
    f, _ = tensor_parallel_by_hand.conjugates()
    tensor_parallel_by_hand.conjugates = lambda: (f, lambda part: part)
    return tensor_parallel_by_hand.train(me, job)


def gradients_not_summed(me, job):
    """Before the first layer of a pair, each rank continues with its own part of the gradient."""
    _, g = tensor_parallel_by_hand.conjugates()
    tensor_parallel_by_hand.conjugates = lambda: (lambda x: x, g)
    return tensor_parallel_by_hand.train(me, job)


def bias_within_the_sum(me, job):
    """Each rank adds the bias of the second layer, so the sum has it once for each rank."""
    _, g = tensor_parallel_by_hand.conjugates()
    share_out = tensor_parallel_by_hand.share_out

    def wrongly(model, pair, me):
        share_out(model, pair, me)
        row = model.get_submodule(pair.row)
        row.forward = lambda x: g(x @ row.weight.T + row.bias)

    tensor_parallel_by_hand.share_out = wrongly
    return tensor_parallel_by_hand.train(me, job)


def every_rank_holds_everything(me, job):
    return single.train(me, job)


@cache
def run_of(twin):
    task = lab.tasks.get("digits-mlp")
    job = Job(task, MORE_STEPS, task.batch)
    return lab.Cluster(2, hardware="dgx-a100").run(partial(twin, job=job))


def worst_loss(losses):
    single_losses = modelled("single", "digits-mlp", 1, MORE_STEPS).history.loss
    return max(abs(a - b) / b for a, b in zip(losses, single_losses, strict=True))


@pytest.mark.parametrize(
    "twin, complaint",
    [
        (outputs_not_summed, "all_reduce: 6 calls"),
        (gradients_not_summed, "all_reduce: 8 calls"),
        (every_rank_holds_everything, "all_reduce: none"),
        (every_rank_holds_everything, "memory"),
    ],
)
def test_those_claims_can_fail(twin, complaint):
    complaints = expected("tensor_parallel", "digits-mlp", 2).complaints(run_of(twin))
    assert [found for found in complaints if found.startswith(complaint)]


@pytest.mark.parametrize("twin", [outputs_not_summed, gradients_not_summed, bias_within_the_sum])
def test_a_sum_that_is_wrong_changes_the_losses(twin):
    assert worst_loss(run_of(twin).values[0]["losses"]) > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_sums_that_are_right_do_not(name):
    assert worst_loss(modelled(name, "digits-mlp", 2, MORE_STEPS).history.loss) < 1e-5


def own_model():
    x, y = lab.tasks.get("digits-mlp").batch_at(0)
    return lab.Task.from_torch(nn.Linear(64, 10), nn.CrossEntropyLoss(), (x, y), batch=64)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "task, ranks, seen",
    [
        ("digits-cnn", 2, "convolutions"),
        (own_model, 2, "only for the named tasks"),
        ("bytes-gpt", 8, "1.query has 4 equal parts, not a multiple of 8"),
        ("digits-mlp", 3, "0.dense has 128 equal parts, not a multiple of 3"),
        ("digits-mlp", 1, "ranks=1"),
    ],
)
def test_what_cannot_be_cut_is_said_before_any_process_starts(name, task, ranks, seen):
    task = lab.tasks.get(task() if callable(task) else task)
    with pytest.raises(lab.LabError) as caught:
        strategies.get(name, "torch").STRATEGY.check(task, ranks, task.batch)
    assert seen in caught.value.saw

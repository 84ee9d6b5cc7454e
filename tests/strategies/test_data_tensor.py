"""Data and tensor parallelism on one mesh: activations on one axis, gradients on the other."""

from __future__ import annotations

from functools import cache, partial

import pytest

import lablib as lab
from lablib.strategies import Job
from lablib.strategies.torch import data_tensor, tensor_parallel

STEPS = 4


@cache
def modelled(name="data_tensor", task="digits-mlp", ranks=4):
    return lab.train(name, task=task, ranks=ranks, steps=STEPS, hardware="dgx-a100", progress=False)


def expected(task="digits-mlp", ranks=4):
    task = lab.tasks.get(task)
    return data_tensor.expected(task, ranks, task.batch)


@pytest.mark.parametrize("task", ["digits-mlp", "bytes-gpt"])
def test_a_step_sends_and_holds_what_the_closed_form_says(task):
    assert expected(task).complaints(modelled(task=task)) == []


def test_activations_stay_in_a_pair_of_ranks_and_gradients_go_between_the_pairs():
    messages = modelled().trace.of(kind="message", name="all_reduce")
    pairs, across = {(0, 1), (2, 3)}, {(0, 2), (1, 3)}
    expected = {"forward": pairs, "backward": pairs, "other": across}
    assert expected == {
        phase: {event.group for event in messages if event.phase == phase} for phase in expected
    }


def gradients_summed(me, job):
    """Sum gradients over the pairs of ranks without dividing by their number."""
    average = data_tensor.average_gradients

    def summed(model, axis):
        average(model, axis)
        for weight in model.parameters():
            data_tensor.own_part(weight.grad).mul_(axis.size())

    data_tensor.average_gradients = summed
    return data_tensor.train(me, job)


def gradients_kept(me, job):
    """Let each pair of ranks train its own model."""
    data_tensor.average_gradients = lambda model, axis: None
    return data_tensor.train(me, job)


def every_rank_on_all_the_data(me, job):
    data_tensor.shard = lambda array, *_: array
    return data_tensor.train(me, job)


def four_ranks_share_each_layer(me, job):
    return tensor_parallel.train(me, job)


@cache
def run_of(twin):
    task = lab.tasks.get("digits-mlp")
    job = Job(task, STEPS, task.batch)
    return lab.Cluster(4, hardware="dgx-a100").run(partial(twin, job=job))


@pytest.mark.parametrize(
    "twin", [gradients_kept, every_rank_on_all_the_data, four_ranks_share_each_layer]
)
def test_that_closed_form_can_be_missed(twin):
    assert any(found.startswith("all_reduce") for found in expected().complaints(run_of(twin)))


def worst_loss(losses):
    alone = modelled("single", ranks=1).history.loss
    return max(abs(a - b) / b for a, b in zip(losses, alone, strict=True))


def test_the_losses_are_those_of_one_process():
    assert worst_loss(modelled().history.loss) < 1e-5


@pytest.mark.parametrize("twin", [gradients_summed, gradients_kept])
def test_gradients_that_are_not_averaged_change_the_losses(twin):
    values = run_of(twin).values
    assert worst_loss([sum(four) / 4 for four in zip(*(v["losses"] for v in values))]) > 1e-3


def test_an_odd_number_of_ranks_cannot_be_laid_out():
    task = lab.tasks.get("digits-mlp")
    with pytest.raises(lab.LabError) as caught:
        data_tensor.STRATEGY.check(task, 5, batch=60)
    assert "2 ranks share each layer" in caught.value.saw

"""Sharded data parallelism in torch: what each strategy sends, and what a rank holds."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest
import sharded_twins as twins

import lablib as lab
from lablib import strategies

STEPS = 4
SHARDED = ["zero1", "zero1_by_hand", "zero2_by_hand", "zero3_by_hand", "fsdp"]
BATCH_OF_ACTIVATIONS = 1024  # so large that a rank holds more bytes of activations than of weights


@cache
def trained(name, task="wide-mlp", ranks=4, **options):
    return lab.train(
        name, task=task, ranks=ranks, steps=STEPS, hardware="dgx-a100", progress=False, **options
    )


def twin(function, task="wide-mlp", ranks=4, batch=None):
    task = lab.tasks.get(task)
    job = strategies.Job(task, STEPS, batch or task.batch)
    return lab.Cluster(ranks, hardware="dgx-a100").run(partial(function, job=job))


def complaints(run, name, task="wide-mlp", ranks=4, batch=None):
    """Return how the run differs from the closed form of that strategy's step."""
    task = lab.tasks.get(task)
    return strategies.get(name).expected(task, ranks, batch or task.batch).complaints(run)


@pytest.mark.parametrize("name", SHARDED)
@pytest.mark.parametrize("task, ranks", [("digits-mlp", 2), ("digits-mlp", 4), ("wide-mlp", 4)])
def test_a_step_sends_and_holds_what_its_closed_form_says(name, task, ranks):
    assert complaints(trained(name, task, ranks), name, task, ranks) == []


def test_each_stage_holds_less_than_the_one_before():
    held = [
        trained(name).metrics.live_bytes.max()
        for name in ("ddp", "zero1_by_hand", "zero2_by_hand", "zero3_by_hand")
    ]
    assert held == sorted(held, reverse=True)
    assert held[3] < held[0] / 3


def test_an_unsharded_optimizer_sends_the_same_and_holds_too_much():
    (complaint,) = complaints(twin(twins.unsharded_optimizer), "zero1_by_hand")
    assert complaint.startswith("memory: ")


@pytest.mark.parametrize("name", SHARDED)
def test_ddp_with_an_unsharded_optimizer_is_none_of_them(name):
    assert any(line.startswith("memory: ") for line in complaints(trained("ddp"), name))


@pytest.mark.parametrize("name", SHARDED)
def test_ranks_that_work_on_all_the_data_hold_too_many_activations(name):
    batch = BATCH_OF_ACTIVATIONS
    everything = twin(partial(twins.on_all_the_data, name=name), "digits-mlp", 2, batch)
    (complaint,) = complaints(everything, name, "digits-mlp", 2, batch)
    assert complaint.startswith("memory: ")
    assert (
        complaints(trained(name, "digits-mlp", 2, batch=batch), name, "digits-mlp", 2, batch) == []
    )


@pytest.mark.parametrize("name", SHARDED)
def test_a_sum_of_gradients_instead_of_their_mean_learns_something_else(name):
    right = trained(name, "digits-mlp", 2).history.loss
    summed = twin(partial(twins.sums_without_a_mean, name=name), "digits-mlp", 2).values
    losses = np.mean(summed, axis=0)
    assert losses[0] == pytest.approx(right[0], rel=1e-5)
    assert losses[-1] != pytest.approx(right[-1], rel=1e-3)


def gathered_ahead(run):
    """Return for each all-gather of a pass, in order, whether this rank computed while it began."""
    *_, step = run.trace.of(rank=0, kind="step")
    compute = [e for e in run.trace.of(rank=0, kind="compute") if e.start_s >= step.start_s]
    return {
        phase: [
            any(e.start_s <= gather.start_s < e.end_s for e in compute)
            for gather in run.trace.of(rank=0, kind="message", name="all_gather")
            if step.start_s <= gather.start_s <= step.end_s and gather.phase == phase
        ]
        for phase in ("forward", "backward")
    }


def test_fsdp_gathers_the_next_block_while_the_present_one_computes():
    ahead = gathered_ahead(trained("fsdp"))
    # Only the first block of each pass has no block before it.
    assert ahead == {"forward": [False] + 7 * [True], "backward": [False] + 7 * [True]}


def test_without_prefetch_no_block_is_gathered_ahead_and_the_step_is_slower():
    run = trained("fsdp", prefetch=False)
    assert not any(sum(gathered_ahead(run).values(), []))
    assert run.metrics.step_s[0] > 1.1 * trained("fsdp").metrics.step_s[0]

"""Data parallelism in torch: what it sends and holds, and what its overlap gains."""

from __future__ import annotations

from functools import cache, partial

import data_twins as twins
import numpy as np
import pytest

import lablib as lab
from lablib import strategies
from lablib.hardware import Device, Hardware, Link
from lablib.strategies import buckets

# A backward pass takes about as long as the messages with its gradients, so overlap matters.
EVEN = Hardware(
    Device("even", {"fp32": 1e11}, 1e15, 1e12), per_node=8, within=Link("25 GB/s", "5 us"),
    name="compute and network alike",
)  # fmt: skip
STEPS = 4  # from the third step on, DDP's buckets are in the order of the gradients
BUCKET_MB = 5.0
OPTIONS = {"bucket_mb": BUCKET_MB, "find_unused_parameters": False}


@cache
def trained(name, task="digits-mlp", ranks=4, hardware="dgx-a100", **options):
    return lab.train(
        name, task=task, ranks=ranks, steps=STEPS, hardware=hardware, progress=False, **options
    )


@cache
def twin(function, task="digits-mlp", ranks=4, hardware="dgx-a100"):
    task = lab.tasks.get(task)
    job = strategies.Job(task, STEPS, task.batch, options=OPTIONS)
    return lab.Cluster(ranks, hardware=hardware).run(partial(function, job=job))


def complaints(run, name, task="digits-mlp", ranks=4, **options):
    """Return how the run differs from the closed form of that strategy's step."""
    task = lab.tasks.get(task)
    return strategies.get(name).expected(task, ranks, task.batch, **options).complaints(run)


CASES = [
    ("single", "digits-mlp", 1, {}),
    ("ddp", "digits-mlp", 2, {}),
    ("ddp", "digits-mlp", 4, {"find_unused_parameters": True}),
    ("ddp", "wide-mlp", 4, {"bucket_mb": BUCKET_MB}),
    ("ddp_by_hand", "digits-mlp", 2, {}),
    ("ddp_by_hand", "wide-mlp", 4, {"bucket_mb": BUCKET_MB}),
    ("gradient_accumulation", "digits-mlp", 2, {"micro_batches": 2, "bucket_mb": 0.05}),
    ("gradient_accumulation", "digits-mlp", 4, {}),
]


@pytest.mark.parametrize("name, task, ranks, options", CASES)
def test_a_step_sends_and_holds_what_its_closed_form_says(name, task, ranks, options):
    assert complaints(trained(name, task, ranks, **options), name, task, ranks, **options) == []


def all_of_it(name):
    return partial(twins.every_rank_on_all_the_data, name=name)


TWINS = [
    ("single", 1, twins.keeps_every_graph, "memory"),
    ("ddp", 4, all_of_it("ddp"), "memory"),
    ("ddp", 4, twins.rank_0_works_alone, "all_reduce: none"),
    ("ddp_by_hand", 4, all_of_it("ddp_by_hand"), "memory"),
    ("ddp_by_hand", 4, twins.rank_0_works_alone, "broadcast: "),
    ("gradient_accumulation", 4, twins.reduces_at_every_micro_batch, "all_reduce: 16 calls"),
]


@pytest.mark.parametrize("name, ranks, wrong, complaint", TWINS)
def test_that_claim_can_fail(name, ranks, wrong, complaint):
    assert complaint in " ".join(complaints(twin(wrong, ranks=ranks), name, ranks=ranks))


def test_accumulation_holds_the_activations_of_one_micro_batch():
    held = [
        run.metrics.live_bytes.max()
        for run in (
            trained("gradient_accumulation", "bytes-gpt", 2),
            trained("ddp", "bytes-gpt", 2),
        )
    ]
    assert held[0] < held[1] / 2


def losses_of(run):
    return np.mean([losses for losses, _ in run.values], axis=0)


def test_a_sum_instead_of_a_mean_is_not_the_single_process():
    right, wrong = trained("ddp_by_hand").history.loss, losses_of(twin(twins.sums_without_a_mean))
    assert losses_of(twin(twins.reduces_after_backward)) == pytest.approx(right, rel=1e-5)
    assert wrong[0] == pytest.approx(right[0], rel=1e-5)
    assert abs(wrong[-1] - right[-1]) > 1e-2 * right[-1]


def gradients_wait_s(run):
    """Return how long the backward pass continues after its first all-reduce, on rank 0.

    The last step counts; the result is in seconds.
    """
    step = run.trace.of(rank=0, kind="step")[-1]
    inside = [event for event in run.trace.of(rank=0) if event.start_s >= step.start_s]
    first = min(event.start_s for event in inside if event.name == "all_reduce")
    return max(event.end_s for event in inside if event.phase == "backward") - first


@pytest.mark.parametrize("name", ["ddp", "ddp_by_hand"])
def test_the_first_all_reduce_starts_before_the_backward_pass_ends(name):
    assert gradients_wait_s(trained(name, "wide-mlp", bucket_mb=BUCKET_MB)) > 0


def test_that_claim_about_the_start_can_fail():
    assert gradients_wait_s(twin(twins.reduces_after_backward, "wide-mlp")) <= 0


def step_s(run):
    return run.metrics.step_s.max()


def test_the_overlap_by_hand_is_as_good_as_ddps_and_better_than_none():
    ddp, by_hand = (
        step_s(trained(name, "wide-mlp", hardware=EVEN, bucket_mb=BUCKET_MB))
        for name in ("ddp", "ddp_by_hand")
    )
    after = step_s(twin(twins.reduces_after_backward, "wide-mlp", hardware=EVEN))
    assert by_hand == pytest.approx(ddp, rel=0.1)
    assert after > 1.2 * by_hand


PACKED = [
    ([], [[]]),
    ([1], [[0]]),
    ([1, 1, 2], [[0, 1, 2]]),
    ([3, 1, 2, 3], [[0, 1], [2, 3]]),
    ([9, 9], [[0], [1]]),
]


@pytest.mark.parametrize("sizes, chosen", PACKED)
def test_a_bucket_is_closed_as_soon_as_it_is_full(sizes, chosen):
    assert buckets.packed([size * 2**20 for size in sizes], bucket_mb=4) == chosen


class OneOfTwo:
    """A function that makes a model with two layers, of which the model uses one."""

    def __call__(self):
        import torch

        class Model(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.used, self.idle = torch.nn.Linear(64, 10), torch.nn.Linear(64, 10)

            def forward(self, x):
                return self.used(x)

        return Model()


def test_a_weight_without_a_gradient_is_an_error_that_says_what_to_do():
    from torch.nn.functional import cross_entropy

    task = lab.Task.from_torch(
        OneOfTwo(), cross_entropy, lab.tasks.get("digits-mlp").data, batch=16, name="one of two"
    )
    with pytest.raises(lab.LabError, match="find_unused_parameters=True"):
        lab.train("ddp_by_hand", task=task, ranks=2, steps=2, progress=False)

"""A run returns the whole state_dict, with BatchNorm's statistics and counters."""

from __future__ import annotations

import counting_models
import numpy as np
import pytest

import lablib as lab

STEPS = 3
# How the batch reaches the model: as shards, each with its own buffers; as micro-batches of a
# shard.
WHOLE, SHARDS, MICRO_BATCHES, BOTH = (1, 1), (2, 1), (1, 4), (2, 4)
STRATEGIES = [
    ("single", 1, WHOLE),
    ("pipeline_split", 2, WHOLE),
    ("gpipe", 2, MICRO_BATCHES),
    ("gpipe", 4, MICRO_BATCHES),
    ("one_f_one_b", 2, MICRO_BATCHES),
    ("interleaved", 2, MICRO_BATCHES),
    ("gpipe_by_hand", 2, MICRO_BATCHES),
    ("one_f_one_b_by_hand", 2, MICRO_BATCHES),
    ("data_pipeline", 4, BOTH),
    ("gradient_accumulation", 2, BOTH),
    ("ddp", 2, SHARDS),
    ("ddp_by_hand", 2, SHARDS),
    ("zero1", 2, SHARDS),
    ("zero1_by_hand", 2, SHARDS),
    ("zero2_by_hand", 2, SHARDS),
    ("zero3_by_hand", 2, SHARDS),
    ("fsdp", 2, SHARDS),
    ("restart", 2, SHARDS),
    ("parameter_server", 3, SHARDS),
]


@pytest.fixture(scope="module")
def dense():
    return counting_models.task(counting_models.dense)


def returned(name, task, ranks):
    options = {"staleness": 0} if name == "parameter_server" else {}
    run = lab.train(
        name, framework="torch", task=task, ranks=ranks, steps=STEPS, threads=1, progress=False,
        timeout_s=60, **options,
    )  # fmt: skip
    return run.history.weights


def differing(state, right):
    """Return the names of the arrays that are not equal."""
    assert state.keys() == right.keys()
    return [
        name
        for name, array in right.items()
        if not np.abs(state[name] - array).max() <= 1e-4 * np.abs(array).max()
    ]


@pytest.mark.parametrize("name, ranks, way", STRATEGIES)
def test_the_state_dict_of_a_run_is_that_of_one_process(dense, name, ranks, way):
    right = counting_models.trained_here(dense, STEPS, *way)
    assert differing(returned(name, dense, ranks), right) == []


@pytest.mark.parametrize("name", ["gpipe", "interleaved"])
def test_so_it_is_when_stages_pass_on_tensors_that_are_not_contiguous(name):
    task = counting_models.task(counting_models.convolutions)
    right = counting_models.trained_here(task, STEPS, *MICRO_BATCHES)
    assert differing(returned(name, task, 2), right) == []


def test_that_claim_can_fail_statistics_of_another_cut_of_the_batch_differ(dense):
    whole, pieces, shards = (
        counting_models.trained_here(dense, STEPS, *way) for way in (WHOLE, MICRO_BATCHES, SHARDS)
    )
    assert {"0.calls", "1.running_mean", "1.num_batches_tracked"} <= {*differing(pieces, whole)}
    assert "1.running_mean" in differing(shards, whole)
    one_more = pieces | {"0.calls": pieces["0.calls"] + 1}
    assert differing(one_more, pieces) == ["0.calls"]


@pytest.mark.parametrize(
    "name, way, shared",
    [
        ("ddp", SHARDS, True),
        ("zero1", SHARDS, True),
        ("restart", SHARDS, True),
        ("gradient_accumulation", BOTH, True),
        ("fsdp", SHARDS, False),
        ("zero1_by_hand", SHARDS, False),
    ],
)
def test_outputs_that_depend_on_buffers_use_those_that_the_documentation_names(name, way, shared):
    """DDP begins each step with rank 0's buffers; otherwise each rank keeps its own."""
    task = counting_models.task(counting_models.centred)
    state = returned(name, task, 2)
    right, other = (
        counting_models.trained_here(task, STEPS, *way, shared=kind)
        for kind in (shared, not shared)
    )
    assert differing(state, right) == [] and differing(state, other) != []

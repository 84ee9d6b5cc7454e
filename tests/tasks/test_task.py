"""Tasks without any framework: weights, batches, cuts, errors."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from itertools import combinations, pairwise
from math import prod

import numpy as np
import pytest

from lablib import tasks
from lablib.errors import LabError
from lablib.tasks.cut import balanced

ALL = [tasks.get(name) for name in tasks.names()]
each_task = pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
SMALL = tasks.get("digits-mlp")


def test_the_tasks_have_the_names_that_labs_use():
    assert tasks.names() == [
        "actg175-mlp", "bytes-gpt", "cancer-mlp", "digits-cnn", "digits-mlp", "wide-mlp",
    ]  # fmt: skip
    assert tasks.get(SMALL) is SMALL


@pytest.mark.parametrize("name, advice", [("digit-mlp", "'digits-mlp'"), (["x"], "choose one")])
def test_an_unknown_task_is_answered_with_the_known_ones(name, advice):
    with pytest.raises(LabError) as error:
        tasks.get(name)
    assert "bytes-gpt, cancer-mlp" in error.value.saw and advice in error.value.do


def test_tasks_and_weights_load_neither_framework():
    code = (
        "import sys; from lablib import tasks; task = tasks.get('bytes-gpt'); task.weights();"
        "task.batch_at(0); print({'torch', 'tensorflow', 'keras'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "set()"


@each_task
def test_a_task_can_be_cut_and_its_batch_split(task):
    assert task.blocks >= 8
    assert task.batch % 8 == 0
    for before, after in pairwise(task.chain):
        assert prod(before.shape_out) == prod(after.shape_in)


@each_task
def test_the_counts_are_those_of_the_weights(task):
    weights = task.weights()
    assert task.parameters == sum(array.size for array in weights.values())
    assert task.weight_bytes == sum(array.nbytes for array in weights.values())
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}
    assert [*dict.fromkeys(int(name.split(".")[0]) for name in weights)] == [*range(task.blocks)]


def test_the_wide_task_weighs_at_most_30_mb_and_the_line_says_so():
    wide = tasks.get("wide-mlp")
    assert 20e6 < wide.weight_bytes < 30e6
    assert repr(wide) == (
        "Task wide-mlp: 8 blocks, 6,571,018 parameters (26.3 MB), batch 32, "
        "SGD lr 0.005 momentum 0.9"
    )


def test_a_task_cannot_be_changed_but_copied():
    with pytest.raises(FrozenInstanceError):
        SMALL.lr = 1.0
    assert replace(SMALL, lr=1.0).lr == 1.0


def test_weights_follow_from_the_seed_and_from_nothing_else():
    first, again, other = SMALL.weights(seed=3), SMALL.weights(seed=3), SMALL.weights(seed=4)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not any(np.array_equal(first[n], other[n]) for n in first if n.endswith("kernel"))


def test_no_two_blocks_start_equal():
    kernels = [a for n, a in tasks.get("wide-mlp").weights().items() if a.shape == (1024, 1024)]
    assert not any(np.array_equal(a, b) for a, b in combinations(kernels, 2))


def test_the_model_on_bytes_has_what_lets_frameworks_agree():
    shapes = {name: array.shape for name, array in tasks.get("bytes-gpt").weights().items()}
    assert shapes["1.key.kernel"] == (64, 64) and "1.key.bias" not in shapes
    assert shapes["0.tokens.table"] == (256, 64) and shapes["7.dense.kernel"] == (64, 256)


@each_task
def test_a_batch_is_the_same_whenever_it_is_asked_for(task):
    (x, y), (again, _), (later, _) = task.batch_at(3), task.batch_at(3), task.batch_at(4)
    assert len(x) == len(y) == task.batch and x.shape[1:] == task.chain[0].shape_in
    assert x.dtype == (np.int64 if task.name == "bytes-gpt" else np.float32)
    assert y.dtype == np.int64
    assert np.array_equal(x, again) and not np.array_equal(x, later)


def test_a_batch_is_the_callers_own():
    x, _ = SMALL.batch_at(0)
    x[:] = -1
    assert (SMALL.batch_at(0)[0] >= 0).all()


def numbered(samples):
    """Return a task whose samples are their own row numbers."""
    return replace(SMALL, data=lambda: (np.arange(samples), np.arange(samples)))


@pytest.mark.parametrize("samples, batch", [(12, 4), (10, 4), (7, 3), (3, 8)])
def test_every_epoch_has_every_sample_once_in_an_order_of_its_own(samples, batch):
    task = numbered(samples)
    line = np.concatenate([task.batch_at(step, batch)[0] for step in range(3 * samples)])
    epochs = line[: 3 * samples].reshape(3, samples)
    assert all(sorted(epoch) == [*range(samples)] for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1


def test_the_seed_decides_the_order():
    task = numbered(100)
    assert not np.array_equal(task.batch_at(0, seed=0)[0], task.batch_at(0, seed=1)[0])


def test_the_line_of_samples_does_not_depend_on_the_batch():
    task = numbered(10)
    fours = np.concatenate([task.batch_at(step, 4)[0] for step in range(4)])
    assert np.array_equal(fours, np.concatenate([task.batch_at(step, 8)[0] for step in range(2)]))


@each_task
@pytest.mark.parametrize("stages", [1, 2, 4, 8])
def test_stages_have_every_block_once_in_order(task, stages):
    ranges = task.cut(stages)
    assert len(ranges) == stages
    assert [block for stage in ranges for block in stage] == [*range(task.blocks)]


@each_task
def test_two_stages_share_the_work(task):
    first, second = (sum(task.chain[b].flops for b in stage) for stage in task.cut(2))
    assert 0.5 < first / second < 2


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 5])
def test_no_other_cut_is_more_even(stages):
    costs = [5, 1, 1, 7, 2, 2, 4]
    places = [(0, *cuts, len(costs)) for cuts in combinations(range(1, len(costs)), stages - 1)]
    worst = [sum(sum(costs[a:b]) ** 2 for a, b in pairwise(place)) for place in places]
    found = sum(sum(costs[b] for b in stage) ** 2 for stage in balanced(costs, stages))
    assert found == min(worst)
    assert stages == 1 or found < max(worst)


@pytest.mark.parametrize(
    "wrong, words",
    [
        (lambda: SMALL.cut(9), "cannot be cut into 9 stages"),
        (lambda: SMALL.cut(0), "stages must be"),
        (lambda: SMALL.weights(seed=-1), "seed must be"),
        (lambda: SMALL.batch_at(-1), "step must be"),
        (lambda: SMALL.batch_at(0, batch=0), "batch must be"),
        (lambda: SMALL.batch_at(0, batch=2.5), "batch must be"),
        (lambda: SMALL.chosen(range(7, 9)), "no such blocks"),
        (lambda: SMALL.chosen(range(0)), "no such blocks"),
        (lambda: SMALL.chosen(slice(8, None)), "no such blocks"),
        (lambda: SMALL.chosen(3), "no such blocks"),
    ],
)
def test_what_a_task_cannot_do_is_said(wrong, words):
    with pytest.raises(LabError, match=words) as error:
        wrong()
    assert error.value.saw and error.value.do


def test_blocks_are_chosen_by_range_by_slice_or_all():
    assert SMALL.chosen() == SMALL.chosen(slice(None)) == range(8)
    assert SMALL.chosen(slice(-2, None)) == range(6, 8)

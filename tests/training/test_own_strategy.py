"""A function from a cell trains as a strategy, and can be compared with the official ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lablib as lab
from lablib import strategies
from lablib.errors import LabError


def by_hand(me, job):
    """Average the gradients by one all-reduce for each weight."""
    import torch
    import torch.distributed as dist

    task, model = job.task, me.put(job.task.torch_model(job.seed))
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.shard_at(step, me))
        with me.step(samples=len(x)):
            loss = task.torch_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            for weight in model.parameters():
                dist.all_reduce(weight.grad)
                weight.grad /= me.ranks
            optimizer.step()
        losses.append(loss.item())
    return {"losses": losses, "weights": task.torch_arrays(model) if me.rank == 0 else {}}


def without_averaging(me, job):
    import torch.distributed as dist

    dist.all_reduce = lambda tensor: None
    return by_hand(me, job)


def ddp(me, job):
    return by_hand(me, job)


def in_tensorflow(me, job):
    official = strategies.get("multi_worker_mirrored", "tensorflow")
    return official.train(me, replace(job, options=official.STRATEGY.chosen({})))


def close(history, single):
    return all(
        np.abs(history.weights[name] - array).max() <= 1e-4 * np.abs(array).max()
        for name, array in single.weights.items()
    )


@pytest.mark.parametrize("function, equal", [(by_hand, True), (without_averaging, False)])
def test_a_function_trains_as_a_strategy_does(function, equal):
    asked = dict(task="cancer-mlp", steps=4, progress=False)
    single = lab.train("single", **asked).history
    assert close(lab.train(function, ranks=2, **asked).history, single) == equal


@pytest.mark.parametrize("hardware", [None, "dgx-a100"])
def test_it_stands_in_a_comparison_beside_the_official_strategy(hardware):
    compared = lab.compare(
        strategies=["single", "ddp", by_hand, ddp], task="cancer-mlp", ranks=[2], steps=3,
        framework="torch", hardware=hardware, repeats=1, progress=False,
    )  # fmt: skip
    assert list(compared.table.strategy) == ["single", "ddp", "by_hand", "my ddp"]
    assert set(compared.table.clock) == {"modelled" if hardware else "measured"}
    assert compared.table.final_loss.round(5).nunique() == 1
    assert "my ddp" in compared.plot().alt


def test_a_function_in_tensorflow():
    asked = dict(task="cancer-mlp", ranks=2, steps=3, framework="tensorflow", progress=False)
    official = lab.train("multi_worker_mirrored", **asked).history
    assert close(lab.train(in_tensorflow, **asked).history, official)


def returns_a_list(me, job):
    return [1.0]


def returns_nothing(me, job):
    pass


def forgets_a_step(me, job):
    return {"losses": [1.0] * (job.steps - me.rank), "weights": {}}


@pytest.mark.parametrize(
    "function, kind, words",
    [
        (returns_a_list, lab.RankFailed, "returns_a_list must return its losses"),
        (returns_nothing, LabError, "one loss for each step"),
        (forgets_a_step, LabError, "one loss for each step"),
    ],
)
def test_what_breaks_the_contract_is_said(function, kind, words):
    with pytest.raises(kind, match=words):
        lab.train(function, task="cancer-mlp", ranks=2, steps=3, progress=False)


def test_two_functions_of_one_name_are_refused():
    def by_hand(me, job):
        return None

    with pytest.raises(LabError, match="same name"):
        lab.compare(strategies=[by_hand, globals()["by_hand"]], ranks=[2], steps=3)

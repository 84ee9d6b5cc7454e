"""The network with which judges compare pipelines: its NumPy gradients are right."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import lablib as lab
from lablib.teach import tanh_chain


@pytest.fixture
def example():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 4, 3))
    return tanh_chain.layers(rng, 2, 3), x, y


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("name, at", [("kernel", (2, 1)), ("bias", (1,))])
def test_a_gradient_is_the_slope_of_the_loss(example, layer, name, at):
    chain, x, y = example

    def loss(step):
        moved = copy.deepcopy(chain)
        moved[layer][name] = moved[layer][name].astype(float)
        moved[layer][name][at] += step
        return tanh_chain.loss_and_gradients(moved, x, y)[0]

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    gradient = tanh_chain.loss_and_gradients(chain, x, y)[1][layer][name][at]
    assert gradient == pytest.approx(slope, rel=1e-6) and abs(gradient) > 1e-4


def test_losses_fall(example):
    losses = tanh_chain.losses(*example, lr=0.1, steps=4)
    assert losses == sorted(losses, reverse=True) and losses[0] > losses[-1]


@pytest.mark.timeout(120)
def test_torch_finds_the_same(example):
    chain, x, y = example

    def in_torch(me):
        import torch

        stage = tanh_chain.torch_stage(chain)
        loss = tanh_chain.torch_loss(stage(torch.tensor(x).float()), torch.tensor(y).float())
        loss.backward()
        return [loss.item(), tanh_chain.torch_gradients(stage)]

    with lab.Cluster(1) as cluster:
        loss, gradients = cluster.run(in_torch).values[0]
    due_loss, due = tanh_chain.loss_and_gradients(chain, x, y)
    assert loss == pytest.approx(due_loss, rel=1e-5)
    for got, expected in zip(gradients, due, strict=True):
        for name in ("kernel", "bias"):
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, atol=1e-6)

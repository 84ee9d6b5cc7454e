"""A small network with losses and gradients in NumPy, with which a judge compares a pipeline.

A layer is tanh(x @ kernel + bias), kernels are (in, out), and the loss is the mean of the squared
differences. Judges use the NumPy half outside the ranks, and `observe` the torch half on the ranks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Layer = dict[str, np.ndarray]


def layers(rng: np.random.Generator, count: int, width: int) -> list[Layer]:
    """Make `count` random layers, all of the same width."""
    scale = 1 / np.sqrt(width)
    return [
        {
            "kernel": rng.normal(0, scale, (width, width)).astype(np.float32),
            "bias": rng.normal(0, 0.1, width).astype(np.float32),
        }
        for _ in range(count)
    ]


def loss_and_gradients(
    chain: list[Layer], x: np.ndarray, y: np.ndarray
) -> tuple[float, list[Layer]]:
    """Compute the loss of the batch (x, y) in one process, and a gradient for each array."""
    inputs = [x.astype(float)]
    for layer in chain:
        inputs.append(np.tanh(inputs[-1] @ layer["kernel"] + layer["bias"]))
    wrong = inputs[-1] - y
    upstream, gradients = 2 * wrong / wrong.size, []
    for layer, before, after in zip(chain[::-1], inputs[-2::-1], inputs[::-1], strict=False):
        upstream = upstream * (1 - after**2)
        gradients.append({"kernel": before.T @ upstream, "bias": upstream.sum(0)})
        upstream = upstream @ layer["kernel"].T
    return float((wrong**2).mean()), gradients[::-1]


def losses(chain: list[Layer], x: np.ndarray, y: np.ndarray, lr: float, steps: int) -> list[float]:
    """Compute the losses of `steps` steps of plain gradient descent in one process."""
    found = []
    for _ in range(steps):
        loss, gradients = loss_and_gradients(chain, x, y)
        chain = [
            {name: layer[name] - lr * slope[name] for name in layer}
            for layer, slope in zip(chain, gradients, strict=True)
        ]
        found.append(loss)
    return found


def torch_stage(chain: list[Layer]) -> Any:
    """Return the layers as a torch.nn.Sequential."""
    import torch
    from torch import nn

    stage = nn.Sequential()
    for layer in chain:
        linear = nn.Linear(*layer["kernel"].shape)
        linear.weight.data = torch.from_numpy(layer["kernel"].T.copy())
        linear.bias.data = torch.from_numpy(layer["bias"].copy())
        stage.extend([linear, nn.Tanh()])
    return stage


def torch_loss(outputs, y):
    """Return the loss, a scalar tensor."""
    return (outputs - y).square().mean()


def torch_gradients(stage: Any) -> list[Layer | None]:
    """Return the gradients of a stage as `loss_and_gradients` does; None for a layer without."""
    return [
        None
        if linear.weight.grad is None or linear.bias.grad is None
        else {"kernel": linear.weight.grad.numpy().T, "bias": linear.bias.grad.numpy()}
        for linear in stage[::2]
    ]

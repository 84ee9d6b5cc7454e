"""Models with buffers that every forward pass changes, and their right values after training."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lablib.tasks import Task


class Counting(nn.Linear):
    """Counts its forward passes in a buffer."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


def dense():
    return nn.Sequential(
        Counting(12, 16), nn.BatchNorm1d(16), nn.GELU(),
        Counting(16, 16), nn.BatchNorm1d(16), nn.GELU(), Counting(16, 4),
    )  # fmt: skip


class Centred(nn.Module):
    """Subtracts a running mean, so its outputs depend on its buffer."""

    def __init__(self, width):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))

    def forward(self, x):
        self.mean.lerp_(x.detach().mean(0), 0.5)
        return x - self.mean


def centred():
    return nn.Sequential(
        nn.Linear(12, 16), Centred(16), nn.GELU(), nn.Linear(16, 16), Centred(16), nn.Linear(16, 4)
    )


def convolutions():
    """Return convolutions whose activations are not contiguous."""
    model = nn.Sequential(
        nn.Unflatten(1, (1, 3, 4)),
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.GELU(),
        nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Flatten(), Counting(48, 4),
    )  # fmt: skip
    return model.to(memory_format=torch.channels_last)


def task(make):
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, size=(96, 12)).astype(np.float32)
    return Task.from_torch(
        make, nn.CrossEntropyLoss(), (x, rng.integers(4, size=96)), batch=32, lr=0.05
    )


def trained_here(task, steps: int, replicas: int, pieces: int, shared: bool = False) -> dict:
    """Return the state_dict after training in this process, without the kit's strategies.

    replicas   the number of replicas; each gets a shard of the batch and has its own buffers, and
               those of the first are returned
    pieces     the number of micro-batches of a shard
    shared     each replica begins a step with the buffers of the first, as in DDP
    """
    model = task.torch_model(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    buffers = [[buffer.clone() for buffer in model.buffers()] for _ in range(replicas)]
    for step in range(steps):
        optimizer.zero_grad()
        shards = zip(*(torch.from_numpy(part).chunk(replicas) for part in task.batch_at(step)))
        first = [buffer.clone() for buffer in buffers[0]]
        for own, (x, y) in zip(buffers, shards, strict=True):
            _copy(first if shared else own, own)
            _copy(own, model.buffers())
            for inputs, targets in zip(x.chunk(pieces), y.chunk(pieces), strict=True):
                (task.torch_loss(model(inputs), targets) / (replicas * pieces)).backward()
            _copy(model.buffers(), own)
        optimizer.step()
    _copy(buffers[0], model.buffers())
    return {name: value.numpy() for name, value in model.state_dict().items()}


def _copy(sources, targets):
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)

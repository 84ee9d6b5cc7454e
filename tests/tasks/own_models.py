"""Small models that an engineer might bring, and tasks with them. Importing this imports torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lablib import datasets
from lablib.tasks import Task


class Last(nn.Module):
    """The output of an LSTM at the last token."""

    def forward(self, out_and_state):
        return out_and_state[0][:, -1]


class Halves(nn.Module):
    """A model that is not an nn.Sequential, with BatchNorm and dropout."""

    def __init__(self):
        super().__init__()
        self.inner, self.norm = nn.Linear(64, 32), nn.BatchNorm1d(32)
        self.drop, self.out = nn.Dropout(0.5), nn.Linear(32, 10)

    def forward(self, x):
        return self.out(self.drop(self.norm(self.inner(x))))


class Idle(Halves):
    """A model with a layer that its forward pass never calls."""

    def __init__(self):
        super().__init__()
        self.idle = nn.Linear(3, 3)


def mlp():
    act = nn.ReLU()  # the same module twice
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), act, nn.Linear(32, 32), act, nn.Linear(32, 10)
    )


def lstm():
    return nn.Sequential(
        nn.Embedding(10, 16), nn.LSTM(16, 16, batch_first=True), Last(), nn.Linear(16, 10)
    )


def convolutions():
    """Return a model whose activations are not contiguous, and whose ReLU works in place."""
    model = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3), nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3), nn.ReLU(inplace=True),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    return model.to(memory_format=torch.channels_last)


def precise():
    return mlp().double()


def tied():
    first, last = nn.Linear(64, 64), nn.Linear(64, 64)
    last.weight = first.weight
    return nn.Sequential(first, nn.GELU(), nn.Linear(64, 64), nn.GELU(), last)


def frozen():
    model = mlp()
    model[1].requires_grad_(False)
    return model


def tokens(samples=100):
    rng = np.random.default_rng(0)
    x = rng.integers(10, size=(samples, 6)).astype(np.int32)
    return x, x[:, -1].astype(np.uint8)


def digits(kind=np.float32):
    x, y = datasets.load("digits").train
    return x.reshape(len(x), -1).astype(kind), y


X, Y = digits()
CROSS_ENTROPY = nn.CrossEntropyLoss()


def own(model, data=(X, Y), loss=CROSS_ENTROPY, batch=16, **options):
    return Task.from_torch(model, loss, data, batch, **options)

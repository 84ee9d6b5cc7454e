"""A hospital in torch: a rank with a copy of the model, which it trains on its own records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lablib.strategies import activations, buckets, federated
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.flat_buffer import flattened_with_gradients
from lablib.strategies.strategy import Job
from lablib.tasks import Task


class Hospital:
    """A copy of the model whose trained weights are one vector, and so are their gradients.

    Buffers, such as the statistics of BatchNorm, and frozen weights stay on their rank.

    model       the module; its weights are views of `weights`
    weights     float32 [all trained weights]
    gradients   of the newest mini-batch, the same shape
    """

    def __init__(self, me: Any, job: Job):
        self.me, self.task = me, job.task
        self.model = me.put(job.task.torch_model(job.seed))
        self.weights, self.gradients = flattened_with_gradients(self.model)

    def learn(self, x, y, correct: Callable[[], None] | None = None):
        """Do one step of plain SGD on a mini-batch; return the mean loss before the step.

        correct   changes `gradients` in place before they are used; None: they stay as they are
        """
        loss = self.task.torch_loss(self.model(x), y)
        self.gradients.zero_()
        loss.backward()
        if correct:
            correct()
        self.weights.sub_(self.gradients, alpha=self.task.lr)
        return loss.detach()

    def average(self, now: federated.Round) -> float:
        """Replace the weights by the mean of this round; return the drift, as in `federated.train`.

        A hospital that misses the round sends zeros, because all ranks take part in an all-reduce.
        """
        import torch.distributed as dist

        mine = self.weights.clone()
        self.weights *= now.shares[self.me.rank]
        dist.all_reduce(self.weights)
        return drift(mine, self.weights)

    def result(self, losses: list[float]) -> dict:
        """Return what the `train` of a strategy returns: the losses, and rank 0's weights."""
        weights = self.task.torch_arrays(self.model) if self.me.rank == 0 else {}
        return {"losses": losses, "weights": weights}


def drift(mine, average) -> float:
    """Return the distance of two vectors of weights, divided by the norm of the second one."""
    return ((mine - average).norm() / average.norm()).item()


def expected(
    task: Task, ranks: int, batch: int, skew: float | None, every: int, *, sent: int, kept: int
) -> Expected:
    """Return what a round sends and holds, if hospitals use one all-reduce at its end.

    every   steps in a round
    sent    vectors as long as the trained weights that a hospital sends
    kept    such vectors that a hospital keeps in addition to its weights and gradients
    """
    vector = sum(buckets.gradient_bytes(task))
    messages = {"all_reduce": (ranks, ranks * sent * vector)}
    # At the end of a round: what is sent, except the weights, and the difference for the drift.
    average = task.weight_bytes + vector + (sent + 1) * vector
    held = federated.median_bytes(training_bytes(task, ranks, batch, skew), average, every)
    carried = wire_bytes_of_collectives(messages, ranks)
    return Expected(messages, carried, kept * vector + held, every)


def training_bytes(task: Task, ranks: int, batch: int, skew: float | None) -> int:
    """Return the most bytes that a hospital holds while it trains on its own records.

    These are weights, gradients, one new gradient, and what the forward pass keeps.
    """
    sizes = buckets.gradient_bytes(task)
    saved = activations.saved_bytes(task, federated.mini_batch(task, ranks, batch, skew))
    return task.weight_bytes + sum(sizes) + max(sizes) + saved

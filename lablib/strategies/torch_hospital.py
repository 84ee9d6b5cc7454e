"""A hospital in torch: a rank with a copy of the model, which it trains on its own records."""

from __future__ import annotations

from collections.abc import Callable

from lablib.strategies.federated import Round
from lablib.strategies.flat_buffer import flattened_with_gradients
from lablib.strategies.strategy import Job


class Hospital:
    """A copy of the model whose trained weights are one vector, and so are their gradients.

    Buffers, such as the statistics of BatchNorm, and frozen weights stay on their rank.

    model       the module; its weights are views of `weights`
    weights     float32 [all trained weights]
    gradients   of the newest mini-batch, the same shape
    """

    def __init__(self, me, job: Job):
        self.task = job.task
        self.model = me.put(job.task.torch_model(job.seed))
        self.weights, self.gradients = flattened_with_gradients(self.model)

    def learn(self, x, y, correct: Callable | None = None):
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

    def average(self, now: Round, rank: int) -> float:
        """Replace the weights by the mean of this round; return the drift, as in `federated.train`.

        A hospital that misses the round sends zeros, because all ranks take part in an all-reduce.
        """
        import torch.distributed as dist

        mine = self.weights.clone()
        self.weights *= now.shares[rank]
        dist.all_reduce(self.weights)
        return drift(mine, self.weights)

    def result(self, me, losses: list[float]) -> dict:
        """Return what the `train` of a strategy returns: rank 0's weights."""
        weights = self.task.torch_arrays(self.model) if me.rank == 0 else {}
        return {"losses": losses, "weights": weights}


def drift(mine, average) -> float:
    """Return the distance of two vectors of weights, divided by the norm of the second one."""
    return ((mine - average).norm() / average.norm()).item()

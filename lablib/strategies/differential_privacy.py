"""Training with differential privacy (DP-SGD): what both frameworks have in common.

In each step every record is drawn with the same probability, independently of all others. The
gradient of each drawn record is clipped, so that no record can change the sum by more than `clip`.
Then noise is added that hides a change of this size. `lab.privacy` computes how much the weights
can still reveal about one record.

Simplified against a real system:

- Everything random follows from the seed of the run, so that the run can be repeated. Somebody who
  knows the seed can subtract the noise. A real system draws noise that nobody can predict.
- Each of R hospitals adds noise with 1/R of the variance, so the whole noise is only in the sum. A
  real system adds up the messages by secure aggregation, so that nobody sees a single one.
- The losses of a run, which the labs draw, have no noise. They are not private.
- Every rank knows how many records are drawn in a step. It uses the number only for the losses.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from lablib import datasets
from lablib.strategies import federated
from lablib.strategies.strategy import Job
from lablib.tasks import Task

READ = (
    "Abadi et al. 2016, Deep learning with differential privacy, https://arxiv.org/abs/1607.00133"
)
# clip    the largest norm of a record's gradient; longer gradients are shortened to it
# noise   the standard deviation of the noise in the sum of gradients, divided by `clip`
# skew    as in `datasets.split_by_client`
OPTIONS = {"clip": 1.0, "noise": 1.0, "skew": None}


def fits(task: Task, ranks: int, batch: int, clip: float, noise: float, skew: float | None) -> str:
    """Return why this cannot be trained; "" if it can."""
    if why := federated.not_between(0, inf, clip=clip, noise=noise):
        return why
    if clip == 0:
        return "clip=0 leaves nothing of the gradients"
    if noise and noise * clip == inf:
        return f"noise={noise!r} with clip={clip!r} is infinite noise"
    if batch > task.samples:
        return f"{task.samples} records, and each is drawn with probability batch / records"
    return federated.fits(task, ranks, batch, skew=skew)


def train(
    me: Any, job: Job, put: Callable[[tuple], tuple], learn: Callable[[Any, Any, np.ndarray], float]
) -> list[float]:
    """Train for `job.steps` steps, each on one random batch; return the loss of each step.

    put     moves the arrays (x, y) of this rank's part of the batch to where the rank computes
    learn   (x, y, rng) -> the sum of the losses before the step. x may have no records. It sums the
            clipped gradients over all ranks; rng is for this rank's part of the noise

    The mean of a step's losses over the ranks is the mean over the records that were drawn.
    """
    hospitals = datasets.split_by_client(
        job.task.data()[1], me.ranks, job.options["skew"], job.seed
    )
    losses = []
    for step in range(job.steps):
        drawn = drawn_at(step, job)
        x, y = put(job.task.rows(np.intersect1d(drawn, hospitals[me.rank])))
        rng = np.random.default_rng([job.seed, step, 1 + me.rank])
        with me.step(samples=len(x)):
            total = learn(x, y, rng)
        losses.append(total * me.ranks / max(1, len(drawn)))
    return losses


def drawn_at(step: int, job: Job) -> np.ndarray:
    """Return the row numbers of the records that all hospitals together draw in a step.

    Each record is drawn with probability batch / records (Poisson sampling), so a batch has a
    random size. The accountant in `lab.privacy` assumes this.
    """
    # The third number tells this generator from those of the noise. Zero equals no third number.
    draws = np.random.default_rng([job.seed, step, 0]).random(job.task.samples)
    return np.flatnonzero(draws < job.batch / job.task.samples)


def noise_of(length: int, job: Job, ranks: int, rng: np.random.Generator) -> np.ndarray:
    """Return one rank's part of the noise: float32 [length].

    The sum over all ranks has the standard deviation noise x clip.
    """
    if job.options["noise"] == 0:  # clip may be infinite
        return np.zeros(length, np.float32)
    deviation = job.options["noise"] * job.options["clip"] / ranks**0.5
    return (deviation * rng.standard_normal(length)).astype(np.float32)

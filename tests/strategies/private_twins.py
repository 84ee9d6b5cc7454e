"""Wrong versions of secure aggregation and DP-SGD: each trains, but breaks its promise.

Each is a strategy's `train` with one function of the kit replaced, on its rank.
"""

from __future__ import annotations

import numpy as np

from lablib import strategies
from lablib.strategies import differential_privacy, masks


def right(me, job, name):
    return strategies.get(name, me.framework).train(me, job)


def reveals_nothing(me, job, name):
    """Leave the masks with missing hospitals in the sum."""
    average = masks.average

    def without_second_sum(weights, now, rank, seeds, bits, all_reduce):
        answers = []

        def once(numbers):
            answers.append(all_reduce(numbers) if not answers else np.zeros_like(numbers))
            return answers[-1]

        return average(weights, now, rank, seeds, bits, once)

    masks.average = without_second_sum
    return right(me, job, name)


def adds_all_the_noise_on_every_rank(me, job, name):
    noise_of = differential_privacy.noise_of
    differential_privacy.noise_of = lambda length, job, ranks, rng: noise_of(length, job, 1, rng)
    return right(me, job, name)


def adds_the_same_noise_on_every_rank(me, job, name):
    noise_of = differential_privacy.noise_of
    differential_privacy.noise_of = lambda length, job, ranks, rng: noise_of(
        length, job, ranks, np.random.default_rng(5)
    )
    return right(me, job, name)


def sends_the_losses_too(me, job, name):
    import torch
    import torch.distributed as dist

    all_reduce = dist.all_reduce

    def twice(tensor):
        all_reduce(torch.zeros(1))
        return all_reduce(tensor)

    dist.all_reduce = twice
    return right(me, job, name)


def clips_the_mean(me, job, name):
    """Clip the mean gradient of a rank's records, instead of each gradient."""
    module = strategies.get(name, me.framework)
    clipped = module.clipped

    def as_one(rows, clip):
        return clipped(rows.mean(0, keepdim=True), clip).repeat(len(rows), 1)

    module.clipped = as_one
    return right(me, job, name)

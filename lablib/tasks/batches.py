"""The samples in the global batch of each step, which are the same for any number of ranks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def rows(step: int, batch: int, samples: int, seed: int) -> np.ndarray:
    """Return the row numbers of one step's batch, from an endless sequence of shuffled epochs.

    Each epoch has every sample once, in a new order. A batch at the end of an epoch is filled from
    the next epoch, so all batches are full and no sample is ever dropped.

    >>> [rows(step, batch=2, samples=3, seed=0).tolist() for step in range(3)]
    [[2, 0], [1, 2], [0, 1]]
    """
    places = np.arange(step * batch, (step + 1) * batch)
    epochs, offsets = np.divmod(places, samples)
    return np.concatenate(
        [_order(samples, int(epoch), seed)[offsets[epochs == epoch]] for epoch in np.unique(epochs)]
    )


@lru_cache(maxsize=4)
def _order(samples, epoch, seed):
    return np.random.default_rng([seed, epoch]).permutation(samples)

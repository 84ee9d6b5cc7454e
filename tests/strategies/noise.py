"""Tell masked weights from weights."""

from __future__ import annotations

import numpy as np
from scipy import stats

RARE = 1e-6  # noise is taken for something else by accident as rarely as this


def surprise(numbers, weights):
    """Return the smallest p-value of tests whether uint32 numbers are noise without the weights.

    The numbers are compared with uniform bytes, by position in the number, and with the weights:
    the correlation of the values, and of the highest bit with the sign.
    """
    each_byte = numbers.view(np.uint8).reshape(-1, 4).T
    counts = [stats.chisquare(np.bincount(byte, minlength=256)).pvalue for byte in each_byte]
    value = stats.pearsonr(numbers.astype(float), weights).pvalue
    table = [[np.sum((numbers >> 31 == bit) & (weights < 0) == sign) for sign in (0, 1)]
             for bit in (0, 1)]  # fmt: skip
    return min(*counts, value, stats.chi2_contingency(table).pvalue)


def looks_like_noise(sums, weights):
    """Return True if none of many messages surprises, and all together do not.

    sums   a message, or a sum of messages, for each of many seeds
    """
    worst = min(surprise(numbers, weights) for numbers in sums)
    together = np.concatenate(sums)
    return min(worst, surprise(together, np.tile(weights, len(sums)))) > RARE

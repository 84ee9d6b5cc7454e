"""The privacy budget: how much weights that were trained with noise can reveal about one record."""

from __future__ import annotations

import math
import warnings

from lablib.errors import LabError, check_whole
from lablib.strategies.federated import not_between

__all__ = ["epsilon"]


def epsilon(noise: float, sample_rate: float, steps: int, delta: float) -> float:
    """Return epsilon of (epsilon, delta) differential privacy after training with `dp_sgd`.

    noise         standard deviation of the noise in the sum of gradients, divided by the clipping
                  norm: the option `noise` of `dp_sgd`
    sample_rate   probability with which each record is drawn in a step: batch / records
    steps         number of steps
    delta         probability with which the guarantee may fail; choose it far below 1 / records

    If one record is added or removed, no result of training becomes more likely by a factor of more
    than e^epsilon, except with probability delta. At epsilon 0.1 the factor is 1.1, at 10 it is
    22,000. Without noise epsilon is infinite. It covers the weights, not the losses of a run.

    The RDP accountant of opacus computes it, which returns an upper bound (Mironov et al. 2019,
    Rényi differential privacy of the sampled Gaussian mechanism, https://arxiv.org/abs/1908.10530).
    It imports torch. Raises LabError if an argument is out of range.

    >>> round(epsilon(noise=1.0, sample_rate=0.01, steps=1000, delta=1e-5), 2)
    2.1
    """
    check_whole(1, steps=steps)
    _check(0, 1e6, noise=noise)
    _check(1e-9, 1, sample_rate=sample_rate)
    _check(1e-30, 0.5, delta=delta)
    if noise == 0:
        return math.inf
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(noise, sample_rate, steps)]
    with warnings.catch_warnings():
        # For very large and very small noise opacus warns that its bound could be tighter.
        warnings.filterwarnings("ignore", "Optimal order")
        return float(accountant.get_epsilon(delta))


def _check(least, most, **given):
    if why := not_between(least, most, **given):
        raise LabError(
            "The privacy budget cannot be computed.",
            saw=why,
            do="write, for example, epsilon(noise=1.0, sample_rate=0.01, steps=1000, delta=1e-5)",
        )

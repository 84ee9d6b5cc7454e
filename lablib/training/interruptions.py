"""How much of a long run is useful when failures interrupt it, and how often to write checkpoints.

The model has three costs. Writing a checkpoint stops training for `write_s` seconds. A failure
loses all work since the last complete checkpoint. A restart takes `restart_s` seconds.
Frequent checkpoints make the first cost large, and rare ones the second.
"""

from __future__ import annotations

import math
import numbers

import numpy as np

from lablib.errors import LabError, check_whole

__all__ = ["best_interval", "useful_share"]

_MOST_FAILURES = 10_000_000


def useful_share(
    interval_s: float,
    write_s: float,
    restart_s: float,
    mean_between_failures_s: float,
    run_s: float,
    seed: int = 0,
) -> float:
    """Simulate a run with random failures; return the share of its time that is useful training.

    interval_s                training time between two checkpoints
    write_s                   time to write a checkpoint, during which nothing trains
    restart_s                 time from a failure until training goes on, from the last checkpoint
    mean_between_failures_s   failures are a Poisson process: they come at this mean distance,
                              independently of each other, also during a write or a restart
    run_s                     time from the start to the end of the run

    Work is useful if a complete checkpoint or the end of the run keeps it. Equal `seed`, `run_s`
    and `mean_between_failures_s` give the same failures, so that two intervals can be compared.
    Raises LabError if a time is negative, or zero where it must not be.

    >>> useful_share(540, write_s=60, restart_s=0, mean_between_failures_s=1e12, run_s=6000)
    0.9
    """
    _check_times(zero=True, write_s=write_s, restart_s=restart_s)
    _check_times(
        interval_s=interval_s, mean_between_failures_s=mean_between_failures_s, run_s=run_s
    )
    check_whole(0, seed=seed)
    expected = run_s / mean_between_failures_s
    if not expected <= _MOST_FAILURES:
        raise LabError(
            "The run has too many failures to simulate.",
            saw=f"run_s={run_s!r}, mean_between_failures_s={mean_between_failures_s!r}",
            do=f"choose a run with at most {_MOST_FAILURES:,} failures",
        )
    rng = np.random.default_rng(seed)
    # Given their number, the times of a Poisson process are uniform.
    failures = np.sort(rng.uniform(0, run_s, rng.poisson(expected)))
    up_s = np.diff(failures, prepend=0, append=run_s)
    up_s[1:] = np.maximum(up_s[1:] - restart_s, 0)
    interval_s = min(interval_s, run_s)  # a longer one means no checkpoint, even an infinite one
    checkpoints, after_s = np.divmod(up_s, interval_s + write_s)
    useful_s = checkpoints.sum() * interval_s + min(after_s[-1], interval_s)
    return float(useful_s / run_s)


def best_interval(write_s: float, mean_between_failures_s: float) -> float:
    """Return the training time in seconds between two checkpoints at which least time is lost.

    This is Young's first-order formula, sqrt(2 write_s mean_between_failures_s). It assumes that
    writing a checkpoint takes much less time than passes between two failures. The time of a
    restart has no influence on it.

    Source: J. W. Young (1974), "A first order approximation to the optimum checkpoint interval",
    Communications of the ACM 17 (9), https://doi.org/10.1145/361147.361115. J. T. Daly (2006), "A
    higher order estimate of the optimum checkpoint interval for restart dumps", Future Generation
    Computer Systems, https://doi.org/10.1016/j.future.2004.11.016, improves it for frequent
    failures.

    >>> best_interval(write_s=30, mean_between_failures_s=6000)
    600.0
    """
    _check_times(write_s=write_s, mean_between_failures_s=mean_between_failures_s)
    return math.sqrt(2 * write_s * mean_between_failures_s)


def _check_times(zero=False, **given):
    for name, time_s in given.items():
        is_time = isinstance(time_s, numbers.Real) and not isinstance(time_s, bool)
        if not is_time or not (time_s > 0 or (zero and time_s == 0)):
            raise LabError(
                f"{name} must be a time in seconds, {'0 or more' if zero else 'more than 0'}.",
                saw=f"{name}={time_s!r}",
                do=f"write, for example, {name}=60",
            )

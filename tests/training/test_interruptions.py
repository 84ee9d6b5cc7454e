"""The share of a run that is useful, and the checkpoint interval that makes it largest."""

from __future__ import annotations

import math

import numpy as np
import pytest

import lablib as lab
from lablib.errors import LabError
from lablib.training.interruptions import best_interval, useful_share

DAY_S = 86_400
# Unexpected interruptions and days of the run in datasets/run-interruptions.csv.
BETWEEN_S = 54 * DAY_S / 419
COSTS = dict(write_s=30, restart_s=300, mean_between_failures_s=BETWEEN_S, run_s=54 * DAY_S)


def best_of(share, between_s, write_s, seeds=range(20)):
    """Return the interval with the largest mean share, and that share over the one at Young's."""
    young_s = best_interval(write_s, between_s)
    intervals = young_s * np.geomspace(1 / 8, 8, 25)
    costs = dict(write_s=write_s, restart_s=300, mean_between_failures_s=between_s)
    means = [
        np.mean([share(each, **costs, run_s=400 * between_s, seed=seed) for seed in seeds])
        for each in intervals
    ]
    return intervals[np.argmax(means)] / young_s, max(means) - means[12]


@pytest.mark.parametrize("between_s, write_s", [(BETWEEN_S, 30), (DAY_S, 30), (DAY_S, 300)])
def test_the_simulated_best_interval_is_near_youngs_formula(between_s, write_s):
    ratio, lost = best_of(useful_share, between_s, write_s)
    assert 0.6 < ratio < 1.7
    assert lost < 0.003


@pytest.mark.parametrize(
    "between_min, daly_min, off", [(24 * 60, 117, 0.03), (6 * 60, 57, 0.06), (15, 9.1, 0.4)]
)
def test_the_formula_is_first_order_and_worse_where_failures_are_frequent(
    between_min, daly_min, off
):
    """Daly (2006), figures 3 to 5: the best interval for checkpoints that take 5 minutes."""
    assert 0 < best_interval(5, between_min) / daly_min - 1 < off


def keeps_lost_work(interval_s, write_s, restart_s, mean_between_failures_s, run_s, seed):
    """Simulate as if a failure lost no work: only writes and restarts cost time."""
    failures = np.random.default_rng(seed).poisson(run_s / mean_between_failures_s)
    return (run_s - failures * restart_s) / run_s * interval_s / (interval_s + write_s)


def test_that_claim_can_fail():
    ratio, lost = best_of(keeps_lost_work, BETWEEN_S, 30)
    assert ratio > 7 and lost > 0.003


def test_without_failures_only_writing_costs_time():
    assert useful_share(60, 15, 300, math.inf, run_s=750_000) == pytest.approx(0.8)
    assert useful_share(math.inf, 15, 300, math.inf, run_s=1000) == 1.0


def test_with_free_writing_and_restarting_only_lost_work_costs_time():
    """A failure loses half an interval on average if it comes rarely."""
    shares = [useful_share(100, 0, 0, 10_000, run_s=1e7, seed=seed) for seed in range(20)]
    assert np.mean(shares) == pytest.approx(1 - 100 / 2 / 10_000, abs=3e-4)


def test_a_restart_costs_its_time_at_every_failure():
    shares = [useful_share(1e-3, 0, 100, 10_000, run_s=1e7, seed=seed) for seed in range(20)]
    assert np.mean(shares) == pytest.approx(1 - 100 / 10_000, abs=5e-4)


def test_a_run_of_failures_alone_is_never_negative():
    assert useful_share(60, 10, 1000, 100, run_s=100_000) == pytest.approx(0, abs=0.01)


def test_equal_seeds_have_equal_failures_and_others_have_not():
    first, again, other = (useful_share(600, **COSTS, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_the_large_run_can_be_useful_for_more_than_90_percent_of_its_time_if_restarts_are_short():
    """The report says higher than 90 %, and nothing about the time of a restart."""
    interval_s = best_interval(30, BETWEEN_S)
    assert useful_share(interval_s, **COSTS | dict(restart_s=120)) > 0.9
    assert useful_share(interval_s, **COSTS | dict(restart_s=1800)) < 0.8
    assert useful_share(10 * interval_s, **COSTS | dict(restart_s=120)) < 0.75


def test_the_names_are_public():
    assert lab.interruptions.best_interval(30, 6000) == 600
    assert set(lab.interruptions.__all__) == {"best_interval", "useful_share"}


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(write_s=-1), "write_s must be a time in seconds, 0 or more"),
        (dict(restart_s="5 min"), "restart_s must be"),
        (dict(mean_between_failures_s=0), "mean_between_failures_s must be .* more than 0"),
        (dict(run_s=math.inf), "too many failures"),
        (dict(run_s=math.nan), "run_s must be"),
        (dict(seed=-1), "seed must be"),
    ],
)
def test_a_time_that_is_none_is_refused(wrong, words):
    with pytest.raises(LabError, match=words):
        useful_share(600, **COSTS | wrong)
    with pytest.raises(LabError, match="interval_s"):
        useful_share(0, **COSTS)
    with pytest.raises(LabError, match="write_s"):
        best_interval(True, 100)

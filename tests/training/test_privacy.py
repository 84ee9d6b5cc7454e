"""Epsilon is that of opacus, and agrees with two other ways to compute it."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from opacus.accountants import RDPAccountant
from scipy import optimize, special, stats

import lablib as lab

ORDERS = np.array([1.1 + n / 10 for n in range(99)] + list(range(12, 64)))
ALL_RECORDS = [(1.0, 10, 1e-5), (2.0, 100, 1e-6), (4.0, 50, 1e-3), (0.7, 1, 1e-5)]
SAMPLED = [(1.0, 0.01, 1000, 1e-5), (1.0, 32 / 1712, 500, 1e-4), (2.0, 0.1, 100, 1e-3)]


@pytest.mark.parametrize("noise, rate, steps, delta", [
    *SAMPLED, *((noise, 1.0, steps, delta) for noise, steps, delta in ALL_RECORDS),
])  # fmt: skip
def test_it_is_what_opacus_finds_step_by_step(noise, rate, steps, delta):
    accountant = RDPAccountant()
    for _ in range(steps):
        accountant.step(noise_multiplier=noise, sample_rate=rate)
    assert lab.privacy.epsilon(noise, rate, steps, delta) == accountant.get_epsilon(delta)


def bound(divergences, delta):
    """Return epsilon from Rényi divergences of these orders: Balle et al. 2020, theorem 21."""
    return min(
        each + math.log((order - 1) / order) - (math.log(delta) + math.log(order)) / (order - 1)
        for order, each in zip(ORDERS, divergences, strict=True)
    )


def exact(noise, steps, delta):
    """Return epsilon of Gaussian noise on all records: Balle and Wang 2018.

    The steps together are one Gaussian mechanism with sqrt(steps) times less noise.
    """
    mean = math.sqrt(steps) / noise

    def too_large(epsilon):
        cdf, log_cdf = stats.norm.cdf, stats.norm.logcdf
        apart = epsilon / mean
        return cdf(mean / 2 - apart) - math.exp(epsilon + log_cdf(-mean / 2 - apart)) - delta

    return optimize.brentq(too_large, 0, 1000)


@pytest.mark.parametrize("noise, steps, delta", ALL_RECORDS)
def test_with_all_records_it_is_the_formula_for_gaussian_noise(noise, steps, delta):
    found = lab.privacy.epsilon(noise, 1.0, steps, delta)
    assert found == pytest.approx(bound(steps * ORDERS / (2 * noise**2), delta), rel=1e-9)
    assert exact(noise, steps, delta) <= found <= 1.2 * exact(noise, steps, delta)


def divergence(order, noise, rate):
    """Integrate the Rényi divergence of the sampled Gaussian mechanism: Mironov et al. 2019."""
    z, width = np.linspace(-12 * noise, order + 12 * noise, 20_000, retstep=True)
    without, with_it = (stats.norm.logpdf(z, mean, noise) for mean in (0, 1))
    mixed = np.logaddexp(math.log1p(-rate) + without, math.log(rate) + with_it)
    return special.logsumexp(order * mixed + (1 - order) * without, b=width) / (order - 1)


@pytest.mark.parametrize("noise, rate, steps, delta", SAMPLED)
def test_with_drawn_records_it_is_the_integral_of_its_definition(noise, rate, steps, delta):
    divergences = [steps * divergence(order, noise, rate) for order in ORDERS]
    found = lab.privacy.epsilon(noise, rate, steps, delta)
    assert found == pytest.approx(bound(divergences, delta), rel=1e-4)


WRONG_WAYS = [
    lambda noise, rate, steps, delta: lab.privacy.epsilon(noise, 1.0, steps, delta),
    lambda noise, rate, steps, delta: rate * lab.privacy.epsilon(noise, 1.0, steps, delta),
    lambda noise, rate, steps, delta: steps * lab.privacy.epsilon(noise, rate, 1, delta),
    lambda noise, rate, steps, delta: lab.privacy.epsilon(noise**2, rate, steps, delta),
]


@pytest.mark.parametrize("wrong", WRONG_WAYS)
def test_those_claims_can_fail(wrong):
    noise, rate, steps, delta = SAMPLED[2]
    right = bound([steps * divergence(order, noise, rate) for order in ORDERS], delta)
    assert abs(wrong(noise, rate, steps, delta) / right - 1) > 0.1


def test_more_noise_fewer_steps_and_smaller_batches_are_more_private():
    usual = dict(noise=1.0, sample_rate=0.02, steps=500, delta=1e-4)
    epsilon = lab.privacy.epsilon(**usual)
    for better in (dict(noise=1.1), dict(sample_rate=0.018), dict(steps=450)):
        assert lab.privacy.epsilon(**usual | better) < epsilon
    assert lab.privacy.epsilon(**usual | dict(delta=1e-5)) > epsilon


@pytest.mark.parametrize("noise", [0, 0.0])
def test_without_noise_there_is_no_limit(noise):
    assert lab.privacy.epsilon(noise, 0.01, 1, 1e-5) == math.inf


@pytest.mark.parametrize("noise", [0.01, 100])
def test_extreme_noise_gives_a_number_and_no_warning(noise):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0 < lab.privacy.epsilon(noise, 0.1, 10, 1e-5) < math.inf


@pytest.mark.parametrize("wrong, saw", [
    (dict(noise=-1.0), "noise=-1.0"), (dict(noise=math.nan), "noise=nan"),
    (dict(noise=True), "noise=True"), (dict(sample_rate=0), "sample_rate=0"),
    (dict(sample_rate=32), "sample_rate=32"), (dict(delta=0), "delta=0"),
    (dict(delta=1), "delta=1"), (dict(steps=0), "steps=0"), (dict(steps=1.5), "steps=1.5"),
])  # fmt: skip
def test_what_is_out_of_range_is_an_error_that_says_so(wrong, saw):
    usual = dict(noise=1.0, sample_rate=0.01, steps=10, delta=1e-5)
    with pytest.raises(lab.LabError) as caught:
        lab.privacy.epsilon(**usual | wrong)
    assert saw in caught.value.saw
    assert caught.value.do

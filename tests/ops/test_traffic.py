"""Drift is found where there is one, and not found where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from lablib.errors import LabError
from lablib.ops import traffic


def sample(seed, number=200):
    images, _ = traffic.stream()
    return images[np.random.default_rng(seed).permutation(len(images))[:number]]


@pytest.mark.parametrize("seed", range(5))
def test_the_same_stream_has_no_drift(seed):
    assert not traffic.drift(sample(seed).mean(axis=1)).found


@pytest.mark.parametrize("shift", [traffic.inverted, traffic.brighter])
@pytest.mark.parametrize("seed", range(3))
def test_changed_images_are_drift(seed, shift):
    found = traffic.drift(shift(sample(seed)).mean(axis=1))
    assert found.found and found.p_value < 1e-6


def test_the_parts_of_the_stream_are_all_digits_once():
    parts = [traffic.stream(part) for part in ("train", "held_out", "traffic")]
    assert sum(len(labels) for _, labels in parts) == 1797
    assert all(0 <= images.min() and images.max() == 16 for images, _ in parts)


@pytest.mark.parametrize(
    "shift",
    [lambda images: images[:3], lambda images: images - 1, lambda images: images * np.nan],
)
def test_a_shift_that_the_server_would_refuse_is_an_error_at_once(shift, tmp_path):
    with pytest.raises(LabError, match="pixels from 0 to 16"):
        traffic.send(tmp_path, 5, shift=shift)


def test_without_a_server_the_error_says_what_to_do(tmp_path):
    with pytest.raises(LabError, match="does not answer"):
        traffic.send(tmp_path, 5)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), 1e9])
def test_a_rate_that_is_none_is_an_error_at_once(rate, tmp_path):
    with pytest.raises(LabError, match="between 0.1 and 1,000"):
        traffic.send(tmp_path, 5, per_second=rate)

"""Each record has one client, and the skew decides how unequal the clients' classes are."""

from __future__ import annotations

import numpy as np
import pytest

from lablib import datasets
from lablib.errors import LabError

DIGITS = datasets.load("digits").y
UNEVEN = np.repeat([0, 1, 2], [100, 20, 3])
CLIENTS = (1, 2, 4, 8)
SKEWS = (None, 1e6, 1.0, 0.1, 1e-3)


def split(y, clients, skew, seed=0):
    return datasets.split_by_client(y, clients, skew, seed)


def mixes(y, parts):
    """Return the share of each class on each client, shape (clients, classes)."""
    return np.array([[np.mean(y[part] == label) for label in np.unique(y)] for part in parts])


def distance_from_even(y, parts):
    """Return the mean distance of the clients' mixes from that of all records, from 0 to 1."""
    whole = mixes(y, [np.arange(len(y))])
    return np.abs(mixes(y, parts) - whole).sum(axis=1).mean() / 2


@pytest.mark.parametrize("y", [DIGITS, UNEVEN, np.zeros(8), [True, False] * 4])
@pytest.mark.parametrize("clients", CLIENTS)
@pytest.mark.parametrize("skew", SKEWS)
def test_every_row_has_one_client_and_every_client_has_a_row(y, clients, skew):
    for seed in range(5):
        parts = split(y, clients, skew, seed)
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(y)))
        assert len(parts) == clients and min(map(len, parts)) > 0
        assert all((np.diff(part) > 0).all() for part in parts)


@pytest.mark.parametrize("y", [DIGITS, UNEVEN])
@pytest.mark.parametrize("clients", CLIENTS)
def test_without_skew_sizes_and_classes_differ_by_at_most_one_row(y, clients):
    parts = split(y, clients, None)
    counts = np.array([[sum(y[part] == label) for label in np.unique(y)] for part in parts])
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1


def test_that_claim_can_fail_with_skew_sizes_and_classes_are_unequal():
    parts = split(DIGITS, 4, 0.5)
    assert np.ptp([len(part) for part in parts]) > 100
    assert distance_from_even(DIGITS, parts) > 0.2


def test_the_smaller_the_skew_the_more_unequal_the_classes():
    distances = [
        np.mean([distance_from_even(DIGITS, split(DIGITS, 8, skew, seed)) for seed in range(10)])
        for skew in (0.05, 0.5, 5.0, 500.0)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.7 and distances[-1] < 0.05


def test_the_shares_of_a_class_have_the_variance_of_their_dirichlet_distribution():
    skew, clients = 0.5, 4
    shares = [
        len(part) / 1000
        for seed in range(300)
        for part in split(np.zeros(1000), clients, skew, seed)
    ]
    of_dirichlet = (1 / clients) * (1 - 1 / clients) / (clients * skew + 1)
    assert np.var(shares) == pytest.approx(of_dirichlet, rel=0.1)


def test_the_seed_alone_decides():
    first, again, other = (split(DIGITS, 4, 0.5, seed) for seed in (1, 1, 2))
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, other))


@pytest.mark.parametrize("y", [np.linspace(0, 1, 50), DIGITS[:100].reshape(50, 2)])
def test_targets_that_are_not_classes_are_dealt_at_random(y):
    parts = split(y, 4, None)
    assert sorted(map(len, parts)) == [12, 12, 13, 13]
    assert sorted(np.concatenate(parts).tolist()) == list(range(50))


WRONG = [
    ((DIGITS, 0), "clients=0"),
    ((DIGITS, 2.0), "clients=2.0"),
    (([0, 1], 3), "2 rows for 3 clients"),
    ((DIGITS, 2, 0), "skew=0"),
    ((DIGITS, 2, -1.0), "skew=-1.0"),
    ((DIGITS, 2, float("nan")), "skew=nan"),
    ((DIGITS, 2, float("inf")), "skew=inf"),
    ((DIGITS, 2, True), "skew=True"),
    ((DIGITS, 2, "even"), "skew='even'"),
    ((DIGITS, 2, 1.0, -1), "seed=-1"),
    ((np.linspace(0, 1, 50), 2, 1.0), "shape (50,) and type float64"),
    ((np.zeros((50, 2), int), 2, 1.0), "shape (50, 2)"),
]


@pytest.mark.parametrize("given, seen", WRONG, ids=[seen for _, seen in WRONG])
def test_wrong_arguments_are_named(given, seen):
    with pytest.raises(LabError) as caught:
        datasets.split_by_client(*given)
    assert seen in caught.value.saw and caught.value.do

"""Values are alike only with the same type, shape and size; points follow from claims."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lablib.teach.claims import RANK, Claim, alike, earned, equal_by_rank, share, show, volume
from lablib.teach.observation import Seen

ALIKE = [
    (1, 1),
    (1, np.int64(1)),
    (1.0, 1),
    (2.0, np.float32(2.00001)),
    ("a", "a"),
    (None, None),
    (True, True),
    ([1, 2], (1, 2)),
    ({"a": [1.0]}, {"a": [1.00001]}),
    (np.ones((2, 2)), [[1, 1], [1, 1]]),
    (np.zeros(3), np.zeros(3, np.float32)),
    (np.zeros(0), []),
]
NOT_ALIKE = [
    (1, True),
    (1, 1.0),
    (1.0, "1.0"),
    (1.0, True),
    (1.0, float("nan")),
    (1.0, float("inf")),
    (1.0, 1.01),
    (True, 1),
    ("1", 1),
    ([1], [1, 1]),
    ([1], {0: 1}),
    ({"a": 1}, {"a": 1, "b": 2}),
    (np.ones(2), np.ones((2, 1))),
    (np.ones(2), [[1], [1, 2]]),
    (np.ones(2), [1, float("nan")]),
    (np.ones(2), ["1", "1"]),
    (np.ones(2), [True, True]),
    (np.ones(2), 1.0),
    (np.ones(1), 1),
    (np.ones(2), {"shape": 2}),
]


@pytest.mark.parametrize("expected, saw", ALIKE, ids=repr)
def test_these_are_alike(expected, saw):
    assert alike(expected, saw)


@pytest.mark.parametrize("expected, saw", NOT_ALIKE, ids=repr)
def test_these_are_not(expected, saw):
    assert not alike(expected, saw)


def test_a_claim_by_rank_tells_of_the_first_that_differs():
    claim = equal_by_rank("the sum", [3, 3, 3], [3, 4, 5])
    assert (claim.holds, claim.rank, claim.expected, claim.saw) == (False, 1, "3", "4")
    assert equal_by_rank("the sum", [3, 3], [3, 3]).holds


def test_evidence_of_a_rank_earns_nothing_beside_a_wrong_value():
    overlaps = Claim("overlaps", True, evidence=RANK)
    assert share([Claim("the mean", True), overlaps]) == 1
    assert share([Claim("the mean", False), overlaps]) == 0


def test_weights_divide_the_points_of_a_case():
    assert share([Claim("a", True, weight=3), Claim("b", False)]) == 0.75
    assert share([]) == 0


@pytest.mark.parametrize(
    "shares, part",
    [
        ([(0, 1.0), (0, 1.0)], 1),
        ([(0, 1.0), (0, 0.9)], 0.475),
        ([(0, 0.0)], 0),
        ([(0, 1.0), (0, 1.0), (1, 0.5)], 0.625),
        ([], 0),
    ],
)
def test_half_of_an_answers_points_are_for_all_claims_together(shares, part):
    assert earned(shares) == pytest.approx(part)


@pytest.mark.parametrize(
    "counted, holds",
    [(1_000_000, True), (1_049_000, True), (1_051_000, False), (949_000, False), (0, False)],
)
def test_volume_is_what_crossed_the_network(counted, holds):
    claim = volume("the volume of a ring", Seen(loopback_bytes=counted), 1e6)
    assert claim.holds is holds and claim.evidence == "outside"


def test_of_a_long_value_the_claim_tells_where_it_differs():
    due = [np.zeros((40, 40)), {"kernel": np.ones((30, 50))}]
    saw = [np.zeros((40, 40)), {"kernel": np.ones((30, 50))}]
    saw[1]["kernel"][7, 9] = 3
    claim = equal_by_rank("the gradients", [due], [saw])
    place = "at [1]['kernel'][7, 9]"
    assert (claim.expected, claim.saw) == (f"1 {place}", f"3 {place}")


def test_bytes_that_nobody_counted_are_not_said_to_be_right():
    unseen = Seen(run=SimpleNamespace(program=[[]]))
    assert "only grading counts" in volume("the volume", unseen, 1e6).text
    assert "only grading counts" not in volume("the volume", Seen(loopback_bytes=1), 1e6).text


def test_a_long_value_is_shown_short():
    assert len(show("x" * 10_000)) < 300 and "\n" not in show(np.ones((9, 9)))

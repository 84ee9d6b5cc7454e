"""Each formula is compared with a number calculated by hand; twins show that the tests can fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lablib.errors import LabError
from lablib.hardware import Link, all_reduce, network, two_levels
from lablib.hardware.two_levels import Span

# 1 s and 1 MB/s: n MB on a link take 1 + n seconds.
PLAIN = Link(1e6, 1.0)
MB = 1e6

# 4 ranks: 2 rounds of a tree, 3 hops of a ring. By hand, in seconds.
BY_HAND = [
    # binomial: 2 (1 + 1) = 4; scatter and all-gather: 2 + 3/4 + 3 (1 + 1/4) = 6.5
    (network.broadcast_s, 1 * MB, 4, 4.0),
    # binomial: 2 (1 + 100) = 202; scatter and all-gather: 2 + 75 + 3 (1 + 25) = 155
    (network.broadcast_s, 100 * MB, 4, 155.0),
    (network.reduce_s, 1 * MB, 4, 4.0),
    # binomial: 202; reduce-scatter and gather: 2 (2 + 75) = 154
    (network.reduce_s, 100 * MB, 4, 154.0),
    (network.scatter_s, 4 * MB, 4, 5.0),  # 2 rounds, 2 MB and 1 MB: 2 + 3
    (network.gather_s, 1 * MB, 4, 5.0),
    (network.all_gather_s, 1 * MB, 4, 6.0),  # 3 (1 + 1)
    (network.reduce_scatter_s, 4 * MB, 4, 6.0),
    (network.all_to_all_s, 4 * MB, 4, 6.0),
    (all_reduce.ring_s, 4 * MB, 4, 12.0),  # 6 (1 + 1)
    (all_reduce.tree_s, 4 * MB, 4, 12.0),  # 2 (2 + 4)
    (all_reduce.doubling_s, 4 * MB, 4, 10.0),  # 2 (1 + 4)
    (all_reduce.doubling_s, 4 * MB, 6, 20.0),  # 4 of them: 10; in and out: 2 (1 + 4)
    (all_reduce.halving_s, 4 * MB, 4, 10.0),  # 2 (1 + 2 + 1 + 1)
    (all_reduce.halving_s, 4 * MB, 5, 20.0),
]


@pytest.mark.parametrize("formula, nbytes, ranks, seconds", BY_HAND)
def test_a_message_takes_what_one_works_out_by_hand(formula, nbytes, ranks, seconds):
    assert formula(nbytes, ranks, PLAIN) == pytest.approx(seconds, rel=1e-12, abs=0)


@pytest.mark.parametrize("formula, nbytes, ranks, seconds", BY_HAND)
def test_that_claim_can_fail(formula, nbytes, ranks, seconds):
    for link in (replace(PLAIN, latency_s=1.01), replace(PLAIN, bytes_per_s=1.01e6)):
        assert formula(nbytes, ranks, link) != pytest.approx(seconds, rel=1e-6)
    assert formula(nbytes * 1.01, ranks, PLAIN) != pytest.approx(seconds, rel=1e-6)
    assert formula(nbytes, ranks * 4, PLAIN) > seconds


def test_point_to_point_and_barrier_by_hand():
    assert network.point_to_point_s(2 * MB, PLAIN) == 3.0
    assert [network.barrier_s(ranks, PLAIN) for ranks in (2, 3, 4, 5)] == [1, 2, 2, 3]
    assert network.barrier_s(4, Link(1e6, 0.5)) == 1.0


@pytest.mark.parametrize(
    "formula", dict.fromkeys(row[0] for row in BY_HAND), ids=lambda f: f.__name__
)
def test_one_rank_is_free_and_none_is_refused(formula):
    assert formula(MB, 1, PLAIN) == 0.0
    with pytest.raises(ValueError, match="at least one rank"):
        formula(MB, 0, PLAIN)


@pytest.mark.parametrize("ranks", [2, 3, 8, 64])
@pytest.mark.parametrize("nbytes", [0, 1, 12345, 1e9])
def test_a_ring_is_its_closed_form(ranks, nbytes):
    link = Link("25 Gbit/s", "9.6 us")
    closed_s = 2 * (ranks - 1) * (9.6e-6 + nbytes / (ranks * 25e9 / 8))
    assert all_reduce.ring_s(nbytes, ranks, link) == pytest.approx(closed_s, rel=1e-12, abs=0)


def test_no_all_reduce_sends_fewer_bytes_than_a_ring():
    free = Link(1e6, 0.0)
    for formula in all_reduce.ALGORITHMS.values():
        for ranks in (2, 3, 4, 7, 16):
            assert formula(MB, ranks, free) >= all_reduce.ring_s(MB, ranks, free) * (1 - 1e-12)


def test_short_messages_take_a_tree_and_long_ones_a_ring():
    chosen = [all_reduce.all_reduce_s(nbytes, 16, PLAIN)[1] for nbytes in (1, 200 * MB)]
    assert chosen == ["tree", "ring"]
    # 2 (15)(1 + n / 16) = 2 (4 + n) where n = 11 * 16 MB: there they cross.
    ring, tree = all_reduce.ring_s, all_reduce.tree_s
    assert ring(176 * MB, 16, PLAIN) == pytest.approx(tree(176 * MB, 16, PLAIN), rel=1e-12, abs=0)


def test_that_choice_can_be_narrowed():
    assert all_reduce.all_reduce_s(1, 16, PLAIN, among=("ring",))[1] == "ring"


SLOW, FAST = Link(1e6, 1.0), Link(4e6, 0.25)
TWO_BY_TWO = Span(per_node=2, nodes=2, within=FAST, between=SLOW.times(2), single=SLOW)


@pytest.mark.parametrize(
    "formula, nbytes, seconds",
    [
        # scatter 0.25 + 0.5; two nodes at 2 MB/s by ring 2 (1 + 1); gather 0.25 + 0.5
        (two_levels.hierarchical_s, 4 * MB, 5.5),
        # one rank of each node at 1 MB/s: 1 + 4; inside: 0.25 + 1
        (two_levels.broadcast_s, 4 * MB, 6.25),
        (two_levels.reduce_s, 4 * MB, 6.25),
        # inside 0.25 + 1; 8 MB from the other node at 1 MB/s: 1 + 8
        (two_levels.gather_s, 4 * MB, 10.25),
        # 2 MB to the other node: 1 + 2; inside 1 MB: 0.25 + 0.25
        (two_levels.scatter_s, 4 * MB, 3.5),
        # 8 MB from the other node at 2 MB/s: 1 + 4; inside 8 MB: 0.25 + 2
        (two_levels.all_gather_s, 4 * MB, 7.25),
        # inside 2 MB: 0.25 + 0.5; between 2 MB at 2 MB/s: 1 + 1
        (two_levels.reduce_scatter_s, 4 * MB, 2.75),
        # inside 1 MB: 0.25 + 0.25; two rounds, 2 MB a node at 2 MB/s: 2 (1 + 1)
        (two_levels.all_to_all_s, 4 * MB, 4.5),
        (two_levels.barrier_s, 0, 2.0),
    ],
)
def test_two_levels_take_what_one_works_out_by_hand(formula, nbytes, seconds):
    assert formula(nbytes, TWO_BY_TWO) == pytest.approx(seconds, rel=1e-12, abs=0)
    slower = replace(TWO_BY_TWO, between=Link(1.9e6, 1.1), single=Link(0.9e6, 1.1))
    assert formula(nbytes, slower) > seconds * 1.01


@pytest.mark.parametrize(
    "algorithm, seconds",
    [
        ("ring", 9.0),  # 6 hops of 1 + 1 MB at 2 MB/s
        ("tree", 2 * (0.25 + 1 + 2)),  # 4 MB at 2 MB/s
        ("doubling", 10.0),  # 2 rounds, each rank has 1 MB/s: 2 (1 + 4)
        ("halving", 10.0),  # 4 rounds, 6 MB at 1 MB/s
        ("hierarchical", 5.5),
        ("auto", 5.5),
    ],
)
def test_an_all_reduce_over_two_levels_by_hand(algorithm, seconds):
    told_s, name = two_levels.all_reduce_s(4 * MB, TWO_BY_TWO, algorithm)
    assert told_s == pytest.approx(seconds, rel=1e-12, abs=0)
    assert name == ("hierarchical" if algorithm == "auto" else algorithm)


def test_a_ring_is_as_slow_as_the_slower_of_both_links():
    swapped = Span(per_node=2, nodes=2, within=SLOW, between=FAST, single=FAST)
    assert two_levels.all_reduce_s(4 * MB, swapped, "ring")[0] == 12.0  # 6 (1 + 1)


def test_lanes_side_by_side_degrade_together():
    link = Link(1e6, 0.0, degrades_at_s=2, degrades_to=0.1).times(4)
    assert [link.at(now_s).bytes_per_s for now_s in (1, 2)] == [4e6, 4e5]


def test_a_link_reads_units_and_degrades_from_its_moment_on():
    link = Link("10 Gbit/s", "50 us", degrades_at_s="2 s", degrades_to=0.1)
    assert (link.bytes_per_s, link.latency_s) == (1.25e9, pytest.approx(5e-5))
    assert link.at(1.9) is link
    assert link.at(2.0) == Link("1 Gbit/s", "50 us")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("10 Gbps", "50 us"), "'10 Gbps'"),
        (("10 Gbit/s", "50 usec"), "'50 usec'"),
        (("-10 Gbit/s", "50 us"), "cannot be read"),
        ((-1, 0), "must be above 0"),
        ((0, 0), "must be above 0"),
        ((1, -1), "must be 0 or above"),
        ((float("nan"), 0), "must be above 0"),
        ((1, 0, "2 s"), "needs both degrades_at_s and degrades_to"),
        ((1, 0, float("inf"), 0.1), "needs both degrades_at_s and degrades_to"),
        ((1, 0, "2 s", 0), "above 0 and at most 1"),
        ((1, 0, "2 s", 2), "degrades_to=2"),
        ((1, 0, "2 s", "0.1"), "degrades_to must be a share"),
        ((1, 0, -2, 0.1), "moment at which a link degrades must be 0 or above"),
    ],
)
def test_what_no_link_can_be_is_told(arguments, words):
    with pytest.raises(LabError) as error:
        Link(*arguments)
    assert words in str(error.value)

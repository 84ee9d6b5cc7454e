"""The nodes of ranks, the links of messages, and how uneven ranks are."""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import replace

import pytest

from lablib.errors import LabError
from lablib.hardware import Device, Hardware, Link
from lablib.hardware.hardware import MESSAGES

MB = 1e6
PLAIN = Device("plain", {"fp32": 1e9}, 1e9, 1e9)
SLOW, FAST = Link(1e6, 1.0), Link(4e6, 0.25)
TWO_OF_EIGHT = Hardware(PLAIN, nodes=2, per_node=8, within=FAST, between=SLOW)


def test_ranks_fill_the_nodes_in_order():
    assert TWO_OF_EIGHT.ranks == 16
    assert [TWO_OF_EIGHT.node(rank) for rank in (0, 7, 8, 15)] == [0, 0, 1, 1]


def test_a_group_inside_a_node_uses_the_links_within():
    assert TWO_OF_EIGHT.message_s("send", 4 * MB, (0, 7)) == 1.25
    assert TWO_OF_EIGHT.message_s("all_gather", 4 * MB, (8, 9)) == 1.25


def test_a_group_with_one_rank_a_node_uses_the_links_between():
    assert TWO_OF_EIGHT.message_s("send", 4 * MB, (7, 8)) == 5.0
    assert TWO_OF_EIGHT.message_s("all_gather", 4 * MB, (0, 8)) == 5.0


def test_hierarchical_beats_the_flat_ring_on_two_slowly_linked_nodes_of_eight():
    flat = replace(TWO_OF_EIGHT, all_reduce="ring").message_s("all_reduce", 16 * MB, range(16))
    steps = replace(TWO_OF_EIGHT, all_reduce="hierarchical")
    # flat: 30 (1 + 1); in steps: 14 (0.25 + 2 / 4) and 2 (1 + 8)
    assert flat == 60.0
    assert steps.message_s("all_reduce", 16 * MB, range(16)) == 28.5
    assert TWO_OF_EIGHT.algorithm(16 * MB, range(16)) == "hierarchical"


def test_that_claim_can_fail_where_both_links_are_alike():
    even = replace(TWO_OF_EIGHT, within=SLOW)
    flat, steps = (
        replace(even, all_reduce=name).message_s("all_reduce", 1600 * MB, range(16))
        for name in ("ring", "hierarchical")
    )
    assert flat < steps


def test_more_adapters_make_a_collective_faster_but_not_a_message_between_two():
    eight = replace(TWO_OF_EIGHT, lanes=8)
    everybody = range(16)
    for name in ("all_gather", "reduce_scatter", "all_to_all", "all_reduce"):
        assert eight.message_s(name, MB, everybody) < TWO_OF_EIGHT.message_s(name, MB, everybody)
    assert eight.message_s("send", MB, (0, 8)) == TWO_OF_EIGHT.message_s("send", MB, (0, 8))


@pytest.mark.parametrize("name", MESSAGES[2:])
def test_every_message_is_known_on_one_level_and_on_two(name):
    for group in (range(8), (0, 8), range(16), (0, 1, 8)):
        assert TWO_OF_EIGHT.message_s(name, MB, group) > 0
    assert TWO_OF_EIGHT.message_s(name, MB, (3,)) == 0


def test_an_unknown_message_is_told():
    with pytest.raises(LabError, match="no such kind of message"):
        TWO_OF_EIGHT.message_s("all_sum", 1, (0, 1))


def test_a_message_to_another_node_holds_an_adapter_one_inside_holds_ports():
    assert [link for link, _, _ in TWO_OF_EIGHT.links("send", (1, 2))] == [
        ("out", "rank", 1), ("in", "rank", 2),
    ]  # fmt: skip
    assert list(replace(TWO_OF_EIGHT, lanes=4).links("all_reduce", (0, 8))) == [
        (("out", "node", 0), 1, 4), (("out", "node", 1), 1, 4),
        (("in", "node", 0), 1, 4), (("in", "node", 1), 1, 4),
    ]  # fmt: skip


def test_a_collective_holds_as_many_adapters_as_it_has_ranks_on_the_node():
    held = [
        lanes for link, lanes, _ in replace(TWO_OF_EIGHT, lanes=4).links("all_reduce", (0, 1, 8))
    ]
    assert held == [1, 1, 2, 1, 1, 1, 2, 1]  # out: ranks 0, 1, nodes 0, 1; in: the same


def test_where_nodes_have_unequally_many_ranks_the_fullest_and_the_emptiest_decide():
    # The fullest node sends 2 MB to the other node: 1 + 2; inside 2 MB: 0.25 + 2 / 4.
    for lanes in (1, 2):  # the emptiest node can use one
        hardware = replace(TWO_OF_EIGHT, lanes=lanes)
        assert hardware.message_s("all_gather", MB, (0, 1, 8)) == 3.75


def test_a_link_that_degrades_slows_what_starts_later():
    worse = replace(TWO_OF_EIGHT, between=replace(SLOW, degrades_at_s=10, degrades_to=0.5))
    assert worse.message_s("send", MB, (0, 8), at_s=9) == 2.0
    assert worse.message_s("send", MB, (0, 8), at_s=10) == 3.0


def test_a_slow_rank_computes_slower_and_nobody_else():
    hardware = replace(TWO_OF_EIGHT, slow={2: 3.0})
    assert [hardware.unevenness(rank, step=0) for rank in range(4)] == [1.0, 1.0, 3.0, 1.0]


def test_the_device_host_takes_the_seconds_that_were_measured():
    host = Hardware(replace(PLAIN, name="host"))
    assert host.compute_s((), cpu_s=0.25) == 0.25
    assert TWO_OF_EIGHT.compute_s([(1e9, 0, "fp32", 1)], cpu_s=0.25) == 1.0


def test_operations_one_after_the_other_take_the_sum_of_their_rooflines():
    costs = [(1e9, 0, "fp32", 2), (0, 2e9, "fp32", 1)]
    each_s = [PLAIN.seconds(*cost) * count for *cost, count in costs]
    assert TWO_OF_EIGHT.compute_s(costs) == sum(each_s) > PLAIN.seconds(2e9, 2e9)


def test_jitter_has_the_mean_it_says_and_comes_from_the_seed_alone():
    hardware = replace(TWO_OF_EIGHT, jitter=0.2)
    drawn = [hardware.unevenness(rank, step) for rank in range(16) for step in range(250)]
    assert min(drawn) >= 1.0
    assert statistics.fmean(drawn) == pytest.approx(1.2, abs=0.015)  # 5 standard errors
    again = replace(hardware)
    assert drawn[:250] == [again.unevenness(0, step) for step in range(250)]
    assert replace(hardware, seed=1).unevenness(0, 0) != hardware.unevenness(0, 0)


def test_a_drawn_number_is_the_same_on_every_computer():
    assert replace(TWO_OF_EIGHT, jitter=1.0).unevenness(3, 5) == 1.9267307420426556


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"nodes": 0}, "nodes must be"),
        ({"per_node": 2.0}, "per_node must be"),
        ({"nodes": 2, "between": None}, "needs a link between"),
        ({"within": None}, "needs a link within"),
        ({"device": 7}, "needs a device"),
        ({"device": "a10"}, "did you mean 'a100'?"),
        ({"within": "pcie"}, "did you mean 'pcie3'?"),
        ({"slow": {16: 2.0}}, "ranks from 0 to 15"),
        ({"slow": {0: 0}}, "is not above 0"),
        ({"slow": {0: "3"}}, "is not above 0"),
        ({"slow": {0: float("inf")}}, "is not above 0"),
        ({"slow": {True: 2.0}}, "is not above 0"),
        ({"slow": [2]}, "which rank"),
        ({"jitter": -0.1}, "at least 0"),
        ({"jitter": "a tenth"}, "jitter must be a number"),
        ({"jitter": float("inf")}, "jitter must be a number"),
        ({"seed": "x"}, "seed must be"),
        ({"nodes": 1, "between": 3}, "needs a link between"),
        ({"all_reduce": "star"}, "no such all-reduce algorithm"),
    ],
)
def test_what_no_hardware_can_be_is_told(wrong, words):
    with pytest.raises(LabError) as error:
        replace(TWO_OF_EIGHT, **wrong)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "name, nbytes, group, words",
    [
        ("send", -1, (0, 1), "nbytes=-1"),
        ("all_reduce", float("nan"), (0, 1), "nbytes=nan"),
        ("all_reduce", "4 MB", (0, 1), "nbytes='4 MB'"),
        ("all_reduce", MB, (0, 16), "ranks 0 to 15"),
        ("all_reduce", MB, 4, "range(4)"),
        ("send", MB, (0, 1, 2), "(source, destination)"),
    ],
)
def test_what_no_message_can_be_is_told(name, nbytes, group, words):
    with pytest.raises(LabError) as error:
        TWO_OF_EIGHT.message_s(name, nbytes, group)
    assert words in str(error.value)


def test_the_words_of_the_public_surface():
    import lablib as lab

    link = lab.Link("10 Gbit/s", "50 us")
    hardware = lab.Hardware(device="t4", nodes=2, per_node=4, within="pcie3", between=link)
    assert repr(hardware) == (
        "Hardware by hand: 2 x 4 t4, within Link(15.7 GB/s, 5.7 us), between Link(1.25 GB/s, 50 us)"
    )
    assert "dgx-a100" in lab.hardware.names()


def test_using_it_loads_nothing_heavy():
    heavy = "pandas torch tensorflow matplotlib"
    code = "import sys, lablib as lab; lab.Hardware; lab.hardware.get('t4'); " + (
        f"print([name for name in '{heavy}'.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "cost", [(1e9,), (1e9, 0, "fp32"), (1e9, 0, "fp32", -1), (1e9, 0, "fp32", "1"), 1e9, "fp32"]
)
def test_a_cost_of_another_form_is_told(cost):
    assert TWO_OF_EIGHT.compute_s([(1e9, 0, "fp32", 1)]) == 1.0
    with pytest.raises(LabError, match="not the cost of an operation"):
        TWO_OF_EIGHT.compute_s([cost])


@pytest.mark.parametrize("name", [3, None, ""])
def test_a_name_that_is_none_is_told(name):
    with pytest.raises(LabError, match="name of a machine must be a text"):
        Hardware(PLAIN, name=name)

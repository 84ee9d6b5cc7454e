"""Simulated times agree with closed forms: rings, pipelines, overlap, stragglers, links."""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace

import pytest

from lablib.errors import LabError
from lablib.hardware import Device, Hardware, Link
from lablib.record import metrics
from lablib.record.cost import Cost
from lablib.record.program import Op
from lablib.record.simulator import simulate

MB = 1e6
# One second is 1 GFLOP, and one MB on a link takes a second without latency.
PLAIN = Device("plain", {"fp32": 1e9}, 1e9, 1e9)
FREE = Link(math.inf, 0.0)
WIRE = Link(1e6, 0.0)
FLAT = Hardware(PLAIN, per_node=8, within=WIRE, all_reduce="ring")


def compute(seconds):
    return Op("compute", costs=(Cost(seconds * 1e9),))


def issue(number, name, group, nbytes=0, channel=""):
    return Op("issue", number, name, nbytes=int(nbytes), group=group, channel=channel)


def call(number, name, group, nbytes=0, channel=""):
    """Return a message and a wait right after it."""
    return issue(number, name, group, nbytes, channel), Op("wait", number)


def same(ranks, *ops):
    return tuple(tuple(ops) for _ in range(ranks))


def ends(trace, kind, name=None):
    return [event.end_s for event in trace.of(kind=kind, name=name)]


@pytest.mark.parametrize("ranks", [2, 3, 8])
@pytest.mark.parametrize("nbytes", [8, 4_000_000])
def test_a_ring_all_reduce_takes_its_closed_form(ranks, nbytes):
    alpha, bandwidth = 9.6e-6, 3.125e9
    hardware = replace(FLAT, within=Link(bandwidth, alpha))
    program = same(ranks, *call(0, "all_reduce", tuple(range(ranks)), nbytes))
    closed_s = 2 * (ranks - 1) * (alpha + nbytes / (ranks * bandwidth))
    trace = simulate(program, hardware)
    assert trace.duration_s == pytest.approx(closed_s, rel=1e-12, abs=0)
    assert trace.duration_s != pytest.approx(closed_s * (1 + 1e-9), rel=1e-12, abs=0)
    assert (trace.clock, trace.ranks) == ("modelled", ranks)


def test_a_collective_starts_when_its_last_rank_has_issued_it():
    both = call(0, "all_reduce", (0, 1), 4 * MB)
    trace = simulate(((compute(1), *both), (compute(3), *both)), FLAT)
    assert ends(trace, "message") == [7.0, 7.0]  # 3 + 2 (4 / 2)
    waits = [(event.start_s, event.end_s) for event in trace.of(kind="wait")]
    assert waits == [(1.0, 7.0), (3.0, 7.0)]


def test_a_straggler_sets_the_pace_of_all():
    step = (compute(1), *call(0, "all_reduce", (0, 1, 2, 3), 4), Op("step"))
    program = same(4, *step, *step, *step)
    even, uneven = (simulate(program, replace(FLAT, slow=slow)) for slow in ({}, {2: 3.0}))
    for rank in range(4):
        assert metrics.step_s(even, rank) == pytest.approx([1, 1, 1], rel=1e-4)
        assert metrics.step_s(uneven, rank) == pytest.approx([3, 3, 3], rel=1e-4)
    waited_s = [row.seconds for row in uneven.of(kind="wait") if row.rank == 2]
    assert sum(waited_s) < 1e-3 * uneven.duration_s  # the others wait for it, but it waits for none


def test_a_straggler_that_nobody_waits_for_sets_no_pace():
    trace = simulate(same(4, compute(1), Op("step")), replace(FLAT, slow={2: 3.0}))
    assert [metrics.step_s(trace, rank) for rank in range(4)] == [[1], [1], [3], [1]]


def data_parallel(ranks, buckets, overlap):
    """Return a backward pass of `buckets` seconds; each second gives 1 MB to reduce."""
    everybody, ops = tuple(range(ranks)), []
    reduced = [issue(n, "all_reduce", everybody, MB) for n in range(buckets)]
    for bucket in reduced:
        ops += [compute(1.0), *([bucket] if overlap else [])]
    ops += [] if overlap else reduced
    return same(ranks, *ops, *(Op("wait", n) for n in range(buckets)), Op("step"))


@pytest.mark.parametrize("bandwidth", [1.6e6, 3e6, 50e6])
def test_buckets_that_overlap_are_faster_than_without_and_slower_than_compute_alone(bandwidth):
    hardware = replace(FLAT, within=Link(bandwidth, 1e-3))
    after, during = (
        simulate(data_parallel(4, 6, overlap), hardware).duration_s for overlap in (False, True)
    )
    one_s = hardware.message_s("all_reduce", MB, range(4))
    assert 6.0 < during < after
    assert after == pytest.approx(6 + 6 * one_s, rel=1e-12)
    assert during == pytest.approx(6 + one_s, rel=1e-12)  # each fits behind the next piece


def test_buckets_queue_where_the_network_is_slower_than_the_backward_pass():
    hardware = replace(FLAT, within=Link(0.5e6, 0.0))
    one_s = hardware.message_s("all_reduce", MB, range(4))
    assert one_s == 3.0
    assert simulate(data_parallel(4, 6, True), hardware).duration_s == 1 + 6 * one_s


def gpipe(stages, micro_batches, forward_s=1.0, backward_s=2.0):
    """Return a GPipe program: all forward, then all backward; each send and recv is waited for."""
    program = []
    for rank in range(stages):
        numbers, ops = iter(range(4 * micro_batches)), []
        for seconds, back in ((forward_s, False), (backward_s, True)):
            before, after = (rank + 1, rank - 1) if back else (rank - 1, rank + 1)
            for _ in range(micro_batches):
                if 0 <= before < stages:
                    ops += call(next(numbers), "recv", (before, rank), 8)
                ops.append(compute(seconds))
                if 0 <= after < stages:
                    ops += call(next(numbers), "send", (rank, after), 8)
        program.append((*ops, Op("step")))
    return tuple(program)


def bubble(trace, rank):
    busy = sum(event.seconds for event in trace.of(rank=rank, kind="compute"))
    return 1 - busy / trace.duration_s


@pytest.mark.parametrize("stages, micro_batches", [(2, 1), (2, 4), (4, 4), (4, 16), (8, 3)])
def test_gpipe_has_the_bubble_of_the_book(stages, micro_batches):
    trace = simulate(gpipe(stages, micro_batches), replace(FLAT, within=FREE))
    expected = (stages - 1) / (micro_batches + stages - 1)
    for rank in range(stages):
        assert bubble(trace, rank) == pytest.approx(expected, rel=1e-12)


def test_that_claim_can_fail_on_a_slow_link_and_with_uneven_stages():
    program, expected = gpipe(4, 4), 3 / 7
    slow = simulate(program, replace(FLAT, within=Link(1e6, 0.1)))
    uneven = simulate(program, replace(FLAT, within=FREE, slow={1: 1.5}))
    assert bubble(slow, 0) > expected * 1.01
    assert bubble(uneven, 0) > expected * 1.01


TWO_OF_EIGHT = Hardware(PLAIN, nodes=2, per_node=8, within=Link(100e6), between=Link(1e6, 1e-3))


def test_hierarchical_beats_the_flat_ring_on_two_slowly_linked_nodes_of_eight():
    program = same(16, *call(0, "all_reduce", tuple(range(16)), 16 * MB))
    flat, steps, auto = (
        simulate(program, replace(TWO_OF_EIGHT, all_reduce=name)).duration_s
        for name in ("ring", "hierarchical", "auto")
    )
    assert steps == auto < 0.6 * flat


def halves(*groups):
    """Return two groups of two, each with its own all-reduce of 1 MB, which takes a second."""
    return tuple(
        call(0, "all_reduce", next(group for group in groups if rank in group), MB)
        for rank in range(4)
    )


def test_groups_inside_a_node_do_not_disturb_each_other():
    assert ends(simulate(halves((0, 1), (2, 3)), FLAT), "message") == [1.0] * 4


@pytest.mark.parametrize("lanes, last_s", [(1, 2.0), (2, 1.0)])
def test_groups_across_nodes_share_the_link_between_them(lanes, last_s):
    hardware = Hardware(PLAIN, 2, 2, within=FREE, between=WIRE, lanes=lanes, all_reduce="ring")
    trace = simulate(halves((0, 2), (1, 3)), hardware)
    assert sorted(ends(trace, "message")) == [1.0, 1.0, last_s, last_s]


def test_a_rank_sends_and_receives_at_once_but_sends_one_by_one():
    ring = tuple(
        (issue(0, "send", (rank, 1 - rank), MB), *call(1, "recv", (1 - rank, rank), MB))
        for rank in range(2)
    )
    assert max(ends(simulate(ring, FLAT), "message")) == 1.0
    star = (
        (issue(0, "send", (0, 1), MB), issue(1, "send", (0, 2), MB)),
        call(0, "recv", (0, 1), MB),
        call(0, "recv", (0, 2), MB),
    )
    assert ends(simulate(star, FLAT), "wait") == [1.0, 2.0]


def test_a_send_that_nobody_is_ready_for_waits_at_the_receiver():
    early = ((*call(0, "send", (0, 1), MB), compute(1)), (compute(5), *call(0, "recv", (0, 1), MB)))
    trace = simulate(early, FLAT)
    assert ends(trace, "message", "send") == [1.0]
    assert [(e.start_s, e.end_s) for e in trace.of(name="recv", kind="message")] == [(5.0, 5.0)]
    assert len(trace.of(rank=1, kind="wait")) == 0


def test_ranks_that_both_send_first_do_not_block_each_other():
    program = tuple(
        (*call(0, "send", (rank, 1 - rank), MB), *call(1, "recv", (1 - rank, rank), MB))
        for rank in range(2)
    )
    assert simulate(program, FLAT).duration_s == 1.0


def test_channels_match_in_their_own_order():
    """A small and a large message cross on two tags; the receiver gets each from the right tag."""
    program = (
        (
            issue(0, "send", (0, 1), 3 * MB, "0:0>1:7"),
            issue(1, "send", (0, 1), 1 * MB, "0:0>1:8"),
        ),
        (*call(0, "recv", (0, 1), MB, "0:0>1:8"), *call(1, "recv", (0, 1), MB, "0:0>1:7")),
    )
    trace = simulate(program, FLAT)
    received = [e.end_s for e in trace.of(rank=1, kind="message")]
    assert received == [4.0, 4.0]  # the second has arrived long before it is asked for


def test_receive_from_anybody_takes_the_earliest_arrival():
    anybody = [Op("issue", n, "recv", 8, (-1, 0), channel="0:any>0:0") for n in (0, 1)]
    server = (anybody[0], Op("wait", 0), anybody[1], Op("wait", 1))
    late = (compute(5), *call(0, "send", (1, 0), 8, "0:1>0:0"))
    soon = (compute(2), *call(0, "send", (2, 0), 8, "0:2>0:0"))
    trace = simulate((server, late, soon), replace(FLAT, within=FREE))
    served = [(e.group, e.end_s) for e in trace.of(rank=0, kind="message")]
    assert served == [((2, 0), 2.0), ((1, 0), 5.0)]


def test_who_comes_late_receives_from_anybody_in_the_order_of_arrival():
    first, second = (call(n, "recv", (-1, 0), 8, "0:any>0:0") for n in (1, 2))
    server = (*call(0, "recv", (3, 0), 8, "0:3>0:1"), *first, compute(1), *second)
    late, soon, last = (
        (compute(seconds), *call(0, "send", (rank, 0), 8, f"0:{rank}>0:{tag}"))
        for rank, seconds, tag in ((1, 5, 0), (2, 2, 0), (3, 9, 1))
    )
    trace = simulate((server, late, soon, last), replace(FLAT, within=FREE))
    served = [(e.group, e.end_s) for e in trace.of(rank=0, kind="message")]
    assert served == [((3, 0), 9.0), ((2, 0), 9.0), ((1, 0), 10.0)]


def test_messages_of_a_channel_arrive_in_their_order_over_several_adapters():
    hardware = Hardware(PLAIN, nodes=2, between=WIRE, lanes=2)
    sends = (issue(0, "send", (0, 1), 3 * MB), issue(1, "send", (0, 1), MB))
    receives = (*call(0, "recv", (0, 1), 3 * MB), *call(1, "recv", (0, 1), MB))
    trace = simulate((sends, receives), hardware)
    assert ends(trace, "message", "recv") == [3.0, 3.0]


def test_a_scatter_moves_what_the_root_passes():
    program = tuple(call(0, "scatter", (0, 1), 4 * MB if rank == 0 else 0) for rank in (0, 1))
    assert simulate(program, FLAT).duration_s == 2.0  # half of it over the wire


def test_messages_match_by_their_order_in_their_channel():
    def numbered(orders):
        for number, (order, name) in enumerate(orders):
            yield Op("issue", number, name, 8, (0, 1), channel="c", order=order)
            yield compute(1)

    first, second = (1, "all_reduce"), (2, "barrier")
    program = (tuple(numbered([first, second])), tuple(numbered([second, first])))
    trace = simulate(program, replace(FLAT, within=FREE))
    # One rank starts the first, the other rank starts the second.
    assert set(ends(trace, "message")) == {1.0}


def test_a_link_that_degrades_slows_the_messages_that_start_later():
    worse = replace(FLAT, within=Link(1e6, 0.0, degrades_at_s=2.5, degrades_to=0.1))
    program = same(2, *(op for n in range(4) for op in call(n, "all_reduce", (0, 1), MB)))
    trace = simulate(program, worse)
    assert ends(trace.of(rank=0), "message") == [1.0, 2.0, 3.0, 13.0]


def test_jitter_is_drawn_anew_for_each_step_of_each_rank():
    hardware = replace(FLAT, jitter=0.3, seed=4)
    trace = simulate(same(2, *(compute(1), Op("step")) * 3), hardware)
    for rank in (0, 1):
        drawn = [hardware.unevenness(rank, step) for step in range(3)]
        assert metrics.step_s(trace, rank) == pytest.approx(drawn, rel=1e-12)
        assert len(set(drawn)) == 3


def test_steps_marks_phases_and_lines_are_kept():
    op = Op("compute", costs=(Cost(1e9),), phase="backward", line="cell [7], line 5")
    trace = simulate(((op, Op("mark", name="half"), op, Op("step"), op, Op("step")),), FLAT)
    assert [(e.name, e.start_s, e.end_s) for e in trace.of(kind="step")] == [
        ("step 0", 0.0, 2.0), ("step 1", 2.0, 3.0),
    ]  # fmt: skip
    assert [(e.name, e.start_s) for e in trace.of(kind="mark")] == [("half", 1.0)]
    assert {(e.phase, e.line) for e in trace.of(kind="compute")} == {("backward", op.line)}


def test_a_name_of_the_catalog_will_do():
    assert simulate(same(2, compute(1)), "laptop").clock == "modelled"


def varied(seed, ranks=8, steps=5):
    """Return data parallel steps with uneven compute, two groups, messages of neighbours."""
    draw = random.Random(seed)
    halves = {rank: tuple(r for r in range(ranks) if r % 2 == rank % 2) for rank in range(ranks)}
    program = []
    for rank in range(ranks):
        ops, number = [], 0
        for _ in range(steps):
            right, left = (rank + 1) % ranks, (rank - 1) % ranks
            ops += [compute(draw.random()), issue(number, "send", (rank, right), 1e5)]
            ops += call(number + 1, "recv", (left, rank), 1e5)
            ops += call(number + 2, "all_reduce", halves[rank], 1e6)
            ops += [*call(number + 3, "all_gather", tuple(range(ranks)), 1e5), Op("step")]
            number += 4
        program.append(tuple(ops))
    return tuple(program)


def test_equal_programs_give_equal_traces_bit_for_bit(tmp_path):
    hardware = Hardware(PLAIN, 4, 2, within=Link(3e6, 1e-5), between=Link(1e6, 1e-4), jitter=0.3)
    first, again = (
        simulate(varied(1), replace(hardware)).save(tmp_path / name).read_bytes()
        for name in ("first.json", "again.json")
    )
    assert first == again
    assert simulate(varied(2), hardware) != simulate(varied(1), hardware)
    assert simulate(varied(1), replace(hardware, seed=1)) != simulate(varied(1), hardware)


def test_no_link_carries_more_than_it_can_and_nothing_goes_back_in_time():
    hardware = Hardware(PLAIN, 4, 2, within=Link(3e6, 1e-5), between=Link(1e6, 1e-4))
    trace = simulate(varied(3), hardware)
    sends = sorted((e.end_s, e.seconds) for e in trace.of(name="send") if e.rank == 1)
    for (one_s, _), (next_s, _) in zip(sends, sends[1:], strict=False):
        assert next_s - one_s >= 0.1 - 1e-9  # 0.1 MB over 1 MB/s
    assert all(event.end_s >= event.start_s >= 0 for event in trace)


@pytest.mark.parametrize(
    "program, words",
    [
        (
            (call(0, "all_reduce", (0, 1), 8), call(0, "broadcast", (0, 1), 8)),
            "rank 0 issues all_reduce for ranks 0, 1; rank 1 issues broadcast for ranks 0, 1",
        ),
        (
            (call(0, "barrier", (0, 1), channel="w"), call(0, "barrier", (0, 1, 2), channel="w")),
            "do not agree",
        ),
        ((call(0, "barrier", (0, 1)), ()), "rank 0 issues barrier for ranks 0, 1; 1 never joins"),
        (((issue(0, "barrier", (0, 1)),), ()), "1 never joins"),
        ((call(0, "recv", (1, 0), 8), ()), "1 never sends it"),
        ((call(0, "recv", (-1, 0), 8), ()), "anybody never sends it"),
        ((call(0, "barrier", (1,)), ()), "do not agree"),
        ((call(0, "barrier", (0, 5)), ()), "of 2 ranks"),
        (((Op("wait", 3),), ()), "did not issue"),
        ((call(0, "all_sum", (0, 1)),) * 2, "no such kind of message"),
    ],
)
def test_programs_that_do_not_fit_together_are_told(program, words):
    with pytest.raises(LabError) as error:
        simulate(program, FLAT)
    assert words in str(error.value)


def test_hardware_that_is_too_small_is_told():
    with pytest.raises(LabError, match="fewer devices"):
        simulate(same(9, compute(1)), FLAT)


def test_64_ranks_and_10_steps_are_simulated_soon():
    everybody = tuple(range(64))
    pieces = [(compute(0.01), issue(n, "all_reduce", everybody, 1e6)) for n in range(8)]
    waits = [Op("wait", n) for n in range(8)]
    step = [compute(0.1), *(op for piece in pieces for op in piece), *waits, Op("step")]
    program = same(64, *step * 10)
    start_s = time.perf_counter()
    trace = simulate(program, "dgx-a100")
    # This is a loose limit: it takes about 0.3 s on one slow core.
    assert time.perf_counter() - start_s < 2
    assert len(trace.of(kind="step")) == 640

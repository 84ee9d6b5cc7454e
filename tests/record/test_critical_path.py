"""The critical path is complete, as long as the run, and only its parts are worth speeding up."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from lablib.hardware import Device, Hardware, Link
from lablib.record.cost import Cost
from lablib.record.critical_path import UNKNOWN, critical_path
from lablib.record.program import Op
from lablib.record.simulator import simulate
from lablib.record.trace import Event, Trace

MB = 1e6
# One second is 1 GFLOP, and one MB on the link takes a second.
PLAIN = Device("plain", {"fp32": 1e9}, 1e9, 1e9)
FLAT = Hardware(PLAIN, per_node=8, within=Link(1e6, 0.0), all_reduce="ring")
PAIR = (0, 1)


def compute(seconds, name=""):
    return Op("compute", name=name, costs=(Cost(seconds * 1e9),))


def issue(number, name, group, nbytes=MB):
    return Op("issue", number, name, nbytes=int(nbytes), group=group)


def call(number, name, group, nbytes=MB):
    return issue(number, name, group, nbytes), Op("wait", number)


def straggler():
    """Return two steps; rank 1 is late in the first one, rank 0 in the second."""
    pace = {0: (1, 4), 1: (3, 2)}
    return tuple(
        tuple(
            op
            for number, seconds in enumerate(pace[rank])
            for op in (compute(seconds), *call(number, "all_reduce", PAIR), Op("step"))
        )
        for rank in PAIR
    )


def pipeline(stages=3, micro_batches=4):
    """Return a pipeline of micro-batches whose middle stage is the slowest."""
    program = []
    for rank in range(stages):
        ops = []
        for number in range(micro_batches):
            if rank > 0:
                ops += call(2 * number, "recv", (rank - 1, rank), 1e5)
            ops.append(compute(2.0 if rank == 1 else 1.0))
            if rank < stages - 1:
                ops.append(issue(2 * number + 1, "send", (rank, rank + 1), 1e5))
        program.append(tuple(ops))
    return tuple(program)


def buckets(nbytes, count=4):
    """Return a backward pass that gives a bucket each second, sent during the next second."""
    ops = [compute(5.0)]
    for number in range(count):
        ops += [compute(1.0), issue(number, "all_reduce", PAIR, nbytes)]
    ops += [*(Op("wait", number) for number in range(count)), compute(0.5), Op("step")]
    return (tuple(ops), (compute(0.25), *ops))


def varied(seed, ranks=6, steps=6):
    """Return a program of uneven compute, messages between neighbours, and all-reduces."""
    draw, everybody = random.Random(seed), tuple(range(ranks))
    program = []
    for rank in range(ranks):
        right, left, ops = (rank + 1) % ranks, (rank - 1) % ranks, []
        for step in range(0, 3 * steps, 3):
            ops += [compute(draw.random()), issue(step, "send", (rank, right), 1e5)]
            ops += call(step + 1, "recv", (left, rank), 1e5)
            ops += [compute(draw.random()), *call(step + 2, "all_reduce", everybody, 1e5)]
            ops += [Op("step")]
        program.append(tuple(ops))
    return tuple(program)


PROGRAMS = {
    "straggler": straggler(),
    "pipeline": pipeline(),
    "overlapped buckets, compute decides": buckets(0.1 * MB),
    "overlapped buckets, the network decides": buckets(3 * MB),
    "varied": varied(1),
    "varied again": varied(2),
}


@pytest.fixture(params=PROGRAMS)
def program(request):
    return PROGRAMS[request.param]


def told(path):
    return [(event.rank, event.kind, event.start_s, event.end_s) for event in path]


def gaps(path):
    return [
        (one, after) for one, after in zip(path, path[1:], strict=False)
        if one.end_s != after.start_s
    ]  # fmt: skip


def test_a_path_has_no_gaps_and_is_as_long_as_the_run(program):
    trace = simulate(program, FLAT)
    path = critical_path(trace)
    assert not gaps(path)
    assert (path[0].start_s, path[-1].end_s) == (0.0, trace.duration_s)
    assert sum(event.seconds for event in path) == pytest.approx(trace.duration_s, rel=1e-12)
    assert {event.kind for event in path} <= {"compute", "message"}


def test_that_claim_can_fail():
    path = critical_path(simulate(straggler(), FLAT))
    assert gaps(path[:1] + path[2:])


def faster(program, rank, position, times=0.5):
    op = program[rank][position]
    cost = op.costs[0]
    quick = replace(op, costs=(cost._replace(flops=cost.flops * times),))
    ops = (*program[rank][:position], quick, *program[rank][position + 1 :])
    return (*program[:rank], ops, *program[rank + 1 :])


def computing(program, trace):
    """Return (rank, position in its program, its event) of every compute."""
    for rank, ops in enumerate(program):
        places = [place for place, op in enumerate(ops) if op.kind == "compute"]
        yield from ((rank, *pair) for pair in zip(places, trace.of(rank=rank, kind="compute")))


def test_only_what_is_on_the_path_makes_the_run_shorter_when_it_gets_faster(program):
    trace = simulate(program, FLAT)
    path = critical_path(trace)
    on = {(event.rank, event.end_s) for event in path if event.kind == "compute"}
    helped = not_helped = 0
    for rank, position, event in computing(program, trace):
        saved_s = trace.duration_s - simulate(faster(program, rank, position), FLAT).duration_s
        partly = any(leg.rank == rank and leg.kind == "compute"
                     and event.start_s < leg.end_s <= event.end_s for leg in path)  # fmt: skip
        if (rank, event.end_s) in on:
            assert saved_s >= 0
            helped += saved_s > 1e-9
        elif not partly:
            assert saved_s <= 1e-9, (rank, event)
            not_helped += 1
    # Every event except the last one, where both ranks do the same at the same time.
    assert helped >= len(on) - 1 > 0 and not_helped


def test_the_path_goes_by_way_of_whom_the_others_wait_for():
    path = critical_path(simulate(straggler(), FLAT))
    assert told(path) == [
        (1, "compute", 0.0, 3.0),
        (1, "message", 3.0, 4.0),
        (0, "compute", 4.0, 8.0),
        (0, "message", 8.0, 9.0),
    ]


def test_in_a_pipeline_it_goes_down_to_the_slowest_stage_stays_and_goes_on():
    path = critical_path(simulate(pipeline(), FLAT))
    visits = [event.rank for event in path if event.kind == "compute"]
    assert visits == [0, 1, 1, 1, 1, 2]


def test_where_the_network_decides_messages_queue_and_compute_between_does_not_count():
    trace = simulate(buckets(3 * MB), FLAT)
    path = critical_path(trace)
    kinds = [event.kind for event in path]
    assert kinds == ["compute"] * 3 + ["message"] * 4 + ["compute"]
    assert sum(event.seconds for event in path if event.kind == "message") == 12.0


def test_where_compute_decides_only_the_last_bucket_is_on_the_path():
    path = critical_path(simulate(buckets(0.1 * MB), FLAT))
    assert [event.kind for event in path] == ["compute"] * 6 + ["message", "compute"]


def test_a_stretch_is_explained_back_to_its_beginning():
    trace = simulate(straggler(), FLAT)
    path = critical_path(trace, since_s=3.5, until_s=9.0)
    assert told(path)[0] == (1, "message", 3.5, 4.0)
    assert critical_path(trace, until_s=4.0) == critical_path(trace)[:2]


def test_a_modelled_send_needs_nobody_and_a_measured_one_both():
    events = [
        Event(0, "compute", "compute", 0, 1), Event(0, "message", "send", 1, 6, 8, PAIR),
        Event(0, "wait", "send", 1, 6), Event(1, "compute", "compute", 0, 5),
        Event(1, "message", "recv", 5, 6, 8, PAIR), Event(1, "wait", "recv", 5, 6),
    ]  # fmt: skip
    modelled, measured = (critical_path(Trace(events, clock)) for clock in ("modelled", "measured"))
    assert told(modelled) == [(0, "compute", 0, 1), (0, "message", 1, 6)]
    assert told(measured) == [(1, "compute", 0, 5), (1, "message", 5, 6)]


def test_sends_of_a_rank_go_one_after_the_other():
    program = (
        (compute(1), issue(0, "send", (0, 1), 3 * MB), compute(1), issue(1, "send", (0, 2), MB)),
        call(0, "recv", (0, 1)),
        call(0, "recv", (0, 2)),
    )
    path = critical_path(simulate(program, FLAT))
    assert [(event.group, event.start_s, event.end_s) for event in path[1:]] == [
        ((0, 1), 1.0, 4.0), ((0, 2), 4.0, 5.0),
    ]  # fmt: skip


def test_the_path_follows_tags_that_cross():
    """Rank 1 asks for the later message first, and for the earlier one while it waits."""
    tag = {n: dict(group=PAIR, nbytes=int(MB), channel=f"0:0>1:{n}") for n in (7, 8)}
    program = (
        (Op("issue", 0, "send", **tag[7]), compute(5), Op("issue", 1, "send", **tag[8])),
        (
            Op("issue", 0, "recv", **tag[8]), Op("issue", 1, "recv", **tag[7]), Op("wait", 1),
            Op("wait", 0), compute(1),
        ),
    )  # fmt: skip
    assert told(critical_path(simulate(program, FLAT))) == [
        (0, "compute", 0, 5), (0, "message", 5, 6), (1, "compute", 6, 7),
    ]  # fmt: skip


# Unknown causes


def test_a_wait_whose_message_lacks_its_other_side_is_unknown():
    events = [
        Event(0, "compute", "compute", 0, 1),
        Event(0, "message", "recv", 1, 3, 8, (1, 0)),
        Event(0, "wait", "recv", 1, 3),
        Event(0, "compute", "compute", 3, 4),
    ]
    path = critical_path(Trace(events, ranks=2))
    assert [(event.kind, event.seconds) for event in path] == [
        ("compute", 1), (UNKNOWN, 2), ("compute", 1),
    ]  # fmt: skip


def test_before_a_ranks_first_line_nothing_is_known():
    late = [Event(0, "compute", "compute", 0, 1), Event(1, "compute", "compute", 2, 4)]
    assert told(critical_path(Trace(late))) == [(1, UNKNOWN, 0, 2), (1, "compute", 2, 4)]


def in_a_graph(derived):
    return Trace(
        [
            Event(0, "compute", "compute", 0.0, 3.0),
            *(Event(0, "step", f"step {n}", n, n + 1.0) for n in range(3)),
            *(Event(0, "message", "send", n, n + 1.0, 8, PAIR, derived=derived) for n in range(3)),
        ],
        ranks=2,
    )


@pytest.mark.parametrize("derived", [True, False])
def test_without_waits_there_is_no_path_to_be_known(derived):
    assert critical_path(in_a_graph(derived)) == ()


def test_derived_messages_beside_waits_explain_nothing():
    known = simulate(straggler(), FLAT)
    derived = Event(0, "message", "send", 0.0, 9.0, 8, PAIR, derived=True)
    assert critical_path(Trace([*known, derived], "modelled")) == critical_path(known)


def test_one_rank_alone_is_its_own_path():
    events = [Event(0, "compute", "compute", n, n + 1) for n in range(3)]
    assert critical_path(Trace(events)) == tuple(events)


def test_nothing_happened_on_no_path():
    assert critical_path(Trace()) == ()


def test_messages_without_length_do_not_lead_round_in_circles():
    free = replace(FLAT, within=Link("1e30 B/s"))
    trace = simulate(varied(3), free)
    path = critical_path(trace)
    assert not gaps(path)
    assert sum(event.seconds for event in path) == pytest.approx(trace.duration_s, rel=1e-9)

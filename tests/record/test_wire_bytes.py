"""Wire bytes: closed forms of each message, and what they say about a step."""

from __future__ import annotations

import math

import pytest

from lablib.hardware.hardware import MESSAGES
from lablib.record import metrics
from lablib.record.trace import Event, Trace
from lablib.record.wire_bytes import wire_bytes

N, R = 1200, 4
FORMULAS = {
    "all_reduce": 2 * 3 / 4 * N,
    "reduce_scatter": 3 / 4 * N,
    "all_gather": 3 * N,
    "all_to_all": 3 / 4 * N,
    "broadcast": N,
    "reduce": N,
    "gather": 3 * N,
    "scatter": 3 / 4 * N,
    "send": N,
    "recv": N,
    "barrier": 0,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_link_carries_what_the_best_algorithm_sends(name):
    assert wire_bytes(name, N, R) == FORMULAS[name]


def test_every_message_that_can_be_modelled_has_a_formula():
    assert set(MESSAGES) <= set(FORMULAS)


def test_one_rank_alone_needs_no_link():
    assert {wire_bytes(name, N, ranks=1) for name in FORMULAS} == {0.0}


def test_an_unknown_message_is_an_error_and_not_0_bytes():
    with pytest.raises(ValueError, match="all_the_things"):
        wire_bytes("all_the_things", N, R)


def ring_all_reduce(chunk):
    """The sends and receives of a ring all-reduce by hand."""
    for rank in range(R):
        to = (rank + 1) % R
        for hop in range(2 * (R - 1)):
            yield Event(rank, "message", "send", 2 + hop, 3 + hop, chunk, (rank, to))
            yield Event(to, "message", "recv", 2 + hop, 3 + hop, chunk, (rank, to))


def one_message(name, nbytes, groups=(tuple(range(R)),)):
    for group in groups:
        for rank in group:
            yield Event(rank, "message", name, 2, 3, nbytes, group)


def in_a_step(*messages):
    """Return a trace with these messages in the second of two steps."""
    ends = [(0, 1), (1, 9)]
    steps = [Event(rank, "step", f"step {end}", *end) for rank in range(R) for end in ends]
    return Trace([*steps, *messages])


def test_a_ring_by_hand_carries_what_the_formula_says():
    by_hand, collective = (
        metrics.wire_bytes(in_a_step(*events))
        for events in (ring_all_reduce(N // R), one_message("all_reduce", N))
    )
    assert by_hand == collective == dict.fromkeys(range(R), FORMULAS["all_reduce"])


def test_all_reduce_is_a_reduce_scatter_and_an_all_gather_although_payloads_differ():
    whole = in_a_step(*one_message("all_reduce", N))
    parts = in_a_step(*one_message("reduce_scatter", N), *one_message("all_gather", N // R))
    assert metrics.wire_bytes(whole) == metrics.wire_bytes(parts)
    assert metrics.payload_bytes_per_step(whole) == 4 * N
    assert metrics.payload_bytes_per_step(parts) == 5 * N


def test_the_same_payload_in_smaller_groups_is_less_on_the_wire():
    one, two = (
        in_a_step(*one_message("all_reduce", N, groups))
        for groups in ([(0, 1, 2, 3)], [(0, 1), (2, 3)])
    )
    assert metrics.payload_bytes_per_step(one) == metrics.payload_bytes_per_step(two)
    assert metrics.wire_bytes_per_rank(one) == 1.5 * metrics.wire_bytes_per_rank(two)


def test_the_busier_direction_of_the_busiest_rank_counts():
    steps = [Event(rank, "step", f"step {n}", n, n + 1) for rank in range(1, 4) for n in range(2)]
    pushes = [Event(rank, "message", "send", 1.5, 1.6, N, (rank, 0)) for rank in range(1, 4)]
    answer = Event(0, "message", "send", 1.7, 1.8, 10, (0, 1))
    carried = metrics.wire_bytes(Trace([*steps, *pushes, answer]))
    assert carried == {0: 3 * N, 1: N, 2: N, 3: N}  # rank 0 serves and marks no steps


def test_a_message_that_was_only_derived_counts_at_both_ends():
    steps = [Event(0, "step", f"step {n}", n, n + 1) for n in range(2)]
    derived = Event(0, "message", "send", 1, 2, N, (0, 1), derived=True)
    assert metrics.wire_bytes(Trace([*steps, derived], ranks=2)) == {0: N, 1: N}


def test_the_last_step_counts_alone_and_without_steps_nothing_is_known():
    early = Event(0, "message", "send", 0.5, 0.6, 9, (0, 1))
    trace = in_a_step(*one_message("all_reduce", N), early)
    assert metrics.last_steps_wire_bytes(trace) == FORMULAS["all_reduce"]
    empty = Trace([Event(0, "message", "send", 0, 1, N, (0, 1))])
    assert math.isnan(metrics.last_steps_wire_bytes(empty))
    assert math.isnan(metrics.wire_bytes_per_rank(empty)) and metrics.wire_bytes(empty) == {}


def test_the_table_has_wire_bytes_before_the_payload():
    columns = list(metrics.table(Trace(one_message("all_gather", N))).columns)
    assert columns.index("wire_bytes") + 1 == columns.index("payload_bytes")
    table = metrics.table(Trace(one_message("all_gather", N)))
    assert set(table.wire_bytes) == {3 * N} and set(table.payload_bytes) == {N}

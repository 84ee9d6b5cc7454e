"""Metrics of traces that are small enough to check by mental arithmetic."""

import math

import pytest

from lablib.record import metrics
from lablib.record.trace import Event, Trace


def step(rank, number, start_s, end_s):
    return Event(rank, "step", f"step {number}", start_s, end_s)


def message(rank, start_s, end_s, nbytes=0, name="all_reduce", **more):
    return Event(rank, "message", name, start_s, end_s, nbytes, (0, 1), **more)


def wait(rank, start_s, end_s):
    return Event(rank, "wait", "all_reduce", start_s, end_s)


def compute(rank, start_s, end_s):
    return Event(rank, "compute", "compute", start_s, end_s)


# Two ranks, a slow first step and two of 10 s; rank 1 lags by 1 s.
STEPS = [
    step(rank, number, start_s + rank, start_s + 10 + rank)
    for rank in (0, 1)
    for number, start_s in enumerate((0, 10, 20))
]


def test_throughput_counts_from_the_end_of_the_first_step_to_the_end_of_the_last():
    # 2 steps of 40 samples from 11 s to 31 s.
    assert metrics.samples_per_s(Trace(STEPS), batch=40) == 4.0


def test_a_slow_first_step_does_not_change_the_throughput():
    slow = [step(0, 0, -500, 10)] + [e for e in STEPS if e != STEPS[0]]
    assert metrics.samples_per_s(Trace(slow), batch=40) == 4.0


def test_a_slow_second_step_does():
    slow = [*STEPS[:2], step(0, 2, 20, 50), *STEPS[3:]]
    assert metrics.samples_per_s(Trace(slow), batch=40) < 4.0


@pytest.mark.parametrize(
    "events",
    [[], [STEPS[0]], [STEPS[0], STEPS[3]], STEPS[:-1], [wait(0, 0, 1)]],
    ids=["empty", "one step", "one step a rank", "ranks differ", "no step"],
)
def test_throughput_that_the_trace_cannot_give_is_nan(events):
    assert math.isnan(metrics.samples_per_s(Trace(events), batch=40))


def test_step_seconds_of_one_rank_in_order():
    assert metrics.step_s(Trace([step(0, 1, 2, 5), step(0, 0, 0, 2), step(1, 0, 0, 9)]), 0) == [
        2,
        3,
    ]


# Communication share


def test_waits_count_within_steps_and_not_in_the_first_averaged_over_ranks():
    waits = [
        wait(0, 0, 9),  # in the first step
        wait(0, 12, 16),
        wait(0, 14, 18),  # overlaps: 12 to 18 is 6 s
        wait(0, 29, 35),  # 1 s of it within the step
        wait(1, 40, 50),  # after the last step
    ]
    trace = Trace(STEPS + waits)
    assert metrics.comm_counted(trace) == "waits"
    assert metrics.comm_share(trace) == pytest.approx((7 / 20 + 0) / 2)


def test_waits_are_counted_rather_than_messages_that_overlap_compute():
    trace = Trace([*STEPS, message(0, 10, 30), wait(0, 28, 30)])
    assert metrics.comm_share(trace) == pytest.approx(2 / 20 / 2)


def test_without_waits_the_messages_bound_it_from_above_and_it_says_so():
    trace = Trace([*STEPS, message(0, 12, 16), message(0, 14, 18), message(0, 12, 18)])
    assert metrics.comm_counted(trace) == "messages"
    assert metrics.comm_share(trace) == pytest.approx(6 / 20 / 2)


def test_modelled_messages_that_nobody_waited_for_share_nothing():
    trace = Trace([*STEPS, message(0, 12, 16)], clock="modelled")
    assert metrics.comm_counted(trace) == "waits"
    assert metrics.comm_share(trace) == 0


def test_a_wait_outside_the_steps_does_not_pass_for_waits_within():
    trace = Trace([*STEPS, wait(0, 0, 5), message(0, 12, 16)])
    assert metrics.comm_counted(trace) == "messages"


def test_derived_messages_have_no_time_to_count():
    trace = Trace([*STEPS, message(0, 10, 20, 8, derived=True)])
    assert metrics.comm_counted(trace) == "unseen"
    assert math.isnan(metrics.comm_share(trace))


def test_no_message_is_no_communication():
    assert metrics.comm_counted(Trace(STEPS)) == "none"
    assert metrics.comm_share(Trace(STEPS)) == 0.0


def test_steps_that_take_no_time_have_no_share():
    assert math.isnan(metrics.comm_share(Trace([step(0, 0, 5, 5), step(0, 1, 5, 5)])))


def test_without_two_steps_there_is_no_share():
    assert math.isnan(metrics.comm_share(Trace([STEPS[0], wait(0, 0, 5)])))


# Bytes


def test_bytes_of_a_step_are_summed_over_ranks_and_the_median_over_steps():
    trace = Trace(
        STEPS
        + [message(0, 1, 2, 10**9)]  # the first step
        + [message(rank, 12, 13, 100) for rank in (0, 1)]
        + [message(rank, 22, 23, 300) for rank in (0, 1)]
        + [message(0, 99, 99, 10**9)]  # after the last
    )
    assert metrics.payload_bytes_per_step(trace) == 400.0  # the median of 200 and 600


def test_a_message_between_two_ranks_counts_once():
    pair = [message(0, 12, 13, 100, "send"), message(1, 12, 13, 100, "recv")]
    there_and_on = [message(0, 22, 23, 100, "send"), message(1, 22, 23, 100, "recv")]
    assert metrics.payload_bytes_per_step(Trace(STEPS + pair + there_and_on)) == 100.0


def test_a_step_without_messages_counts_as_none():
    trace = Trace([*STEPS, message(0, 12, 13, 100)])
    assert metrics.payload_bytes_per_step(trace) == 50.0
    assert metrics.payload_bytes_per_step(Trace(STEPS)) == 0.0


def test_derived_bytes_count():
    events = [message(0, start, start + 10, 8, derived=True) for start in (10, 20)]
    assert metrics.payload_bytes_per_step(Trace(STEPS + events)) == 8.0


def test_what_a_server_sends_counts_in_the_steps_of_those_it_serves():
    events = [message(7, start + 1, start + 2, 8, "send") for start in (0, 10, 20)]
    assert metrics.payload_bytes_per_step(Trace(STEPS + events)) == 8.0


def test_without_two_steps_there_are_no_bytes_per_step():
    assert math.isnan(metrics.payload_bytes_per_step(Trace([STEPS[0]])))


# Overlap


def test_overlap_is_the_part_of_the_messages_time_with_compute():
    trace = Trace([*STEPS, compute(0, 10, 16), message(0, 12, 20, 8), wait(0, 16, 20)])
    assert metrics.overlap_share(trace) == pytest.approx(4 / 8)


def test_another_ranks_compute_is_no_overlap():
    trace = Trace([*STEPS, compute(1, 11, 21), message(0, 12, 20, 8), wait(0, 12, 20)])
    assert metrics.overlap_share(trace) == 0.0


def test_without_waits_overlap_is_unknown_not_perfect():
    trace = Trace([*STEPS, compute(0, 0, 30), message(0, 12, 20, 8)])
    assert math.isnan(metrics.overlap_share(trace))


# Bubble


def test_a_rank_that_waits_for_anothers_work_is_idle_until_bytes_move():
    # Rank 1 waits from 11 s; rank 0 computes until 16 s, then sends for 2 s.
    sent = message(0, 16, 18, 8, "send")
    received = message(1, 11, 18, 8, "recv")
    trace = Trace([*STEPS, compute(0, 10, 16), sent, received, wait(1, 11, 18), compute(1, 18, 31)])
    idle_s = (30 - 18, 16 - 11)
    assert metrics.bubble(trace) == pytest.approx(sum(idle_s) / 20 / 2)


def test_what_arrived_before_it_was_asked_for_moved_then():
    sent = message(0, 10, 12, 8, "send")
    received = message(1, 20, 20, 8, "recv")
    trace = Trace([*STEPS, sent, received, wait(1, 20, 20), compute(0, 12, 30)], clock="modelled")
    assert metrics.bubble(trace) == pytest.approx((0 + 19 / 20) / 2)


def test_bytes_of_a_collective_move_once_its_last_rank_is_there():
    both = [message(0, 12, 20, 8), message(1, 16, 20, 8)]
    waits = [wait(0, 12, 20), wait(1, 16, 20)]
    work = [compute(0, 10, 12), compute(0, 20, 30), compute(1, 11, 16), compute(1, 20, 31)]
    trace = Trace([*STEPS, *both, *waits, *work])
    assert metrics.bubble(trace) == pytest.approx(4 / 20 / 2)


def test_ranks_that_always_work_have_no_bubble():
    trace = Trace([*STEPS, compute(0, 10, 30), compute(1, 11, 31)])
    assert metrics.bubble(trace) == 0.0


@pytest.mark.parametrize(
    "events",
    [[STEPS[0]], [*STEPS, message(0, 12, 16)], [*STEPS, message(0, 10, 20, 8, derived=True)]],
    ids=["one step", "messages inside a graph", "derived messages"],
)
def test_a_bubble_that_the_trace_cannot_give_is_nan(events):
    assert math.isnan(metrics.bubble(Trace(events)))


# Ratios and the table


@pytest.mark.parametrize("rate, single", [(math.nan, 1), (1, math.nan), (1, 0), (0, 1)])
def test_speedup_of_an_unknown_rate_is_unknown(rate, single):
    assert math.isnan(metrics.speedup(rate, single))


def test_no_ranks_have_no_efficiency():
    with pytest.raises(ValueError, match="ranks=0"):
        metrics.efficiency(2.0, 0)


def test_the_table_has_a_row_for_every_rank_of_the_run_and_says_its_clock():
    trace = Trace([*STEPS, wait(0, 12, 16), message(0, 12, 16, 100)], ranks=3)
    table = metrics.table(trace, {1: {"cpu_s": 2.5}})
    assert list(table["rank"]) == [0, 1, 2]
    assert set(table["clock"]) == {"measured"}
    assert table.loc[0, ["steps", "step_s", "wait_s", "payload_bytes"]].tolist() == [3, 10, 4, 100]
    assert table.loc[1, "cpu_s"] == 2.5
    assert math.isnan(table.loc[2, "cpu_s"])


def test_where_no_waits_are_seen_the_table_does_not_say_that_nobody_waited():
    in_a_graph, without = [*STEPS, message(0, 12, 16, 100)], STEPS
    assert metrics.table(Trace(in_a_graph))["wait_s"].isna().all()
    assert not metrics.table(Trace(without))["wait_s"].any()


def test_a_run_without_events_has_a_table_with_all_columns():
    table = metrics.table(Trace())
    assert table.empty
    assert "wait_s" in table.columns

"""Seconds and waits of a rank on a GPU; the GPU is simulated and works asynchronously."""

from __future__ import annotations

from functools import partial

import simulated_gpu as jobs

import lablib as lab


def on_one_rank(function):
    return lab.Cluster(1).run(function).values[0]


def test_the_clock_of_a_gpu_waits_for_the_gpu_and_counts_its_seconds():
    compute, on_a_side_stream, both_later = on_one_rank(jobs.times_the_gpu)
    assert compute == ((), 2.0, 2.0)
    assert on_a_side_stream == ((), 0.0, 2.0)
    assert both_later == ((), 1.0, 3.0)


def test_compute_and_waits_are_those_of_the_gpu():
    assert on_one_rank(partial(jobs.step_with_messages, timed=True)) == [
        ["StepBegun", 0.0],
        ["Computed", 2.0],
        ["Issued", 2.0],
        ["Waited", 2.0, 5.0],
        ["Ended", 5.0],
        ["Computed", 1.0],
        ["StepEnded", 0.0, 6.0],
    ]


def test_the_clock_of_a_cpu_sees_nothing_of_them():
    rows = on_one_rank(partial(jobs.step_with_messages, timed=False))
    assert ["Waited", 0.0, 0.0] in rows and ["StepEnded", 0.0, 0.0] in rows


def test_the_backward_pass_ends_with_the_wait_for_its_messages():
    rows = on_one_rank(partial(jobs.end_of_a_message_in_the_backward_pass, kind="_NcclWork"))
    assert ["Issued", 0.0] in rows
    assert rows[rows.index(["Waited", 1.0, 4.0]) + 1] == ["Ended", 4.0]


def test_a_callback_of_the_future_would_see_the_end_at_once():
    rows = on_one_rank(partial(jobs.end_of_a_message_in_the_backward_pass, kind="_RecordedWork"))
    assert ["Ended", 0.0] in rows and ["Waited", 1.0, 1.0] in rows

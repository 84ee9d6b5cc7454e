"""From a rank's rows to its program and its trace."""

from __future__ import annotations

from lablib.record.program import program, trace
from lablib.record.recorder import Recorder
from lablib.record.rows import Derived, Ended, Issued, Marked, Returned, StepEnded, Waited

LIFE = Returned(0.0, 10.0)


def message(number, at_s, done_s, name="all_reduce"):
    issue = Issued(number, at_s, name, 8, (0, 1), "backward", "a.py:3", "0", number + 1)
    return [issue, Ended(number, done_s)]


def waits(*rows):
    return [(e.start_s, e.end_s) for e in trace([[*rows, LIFE]]).of(kind="wait")]


def test_a_program_has_no_times():
    early = [*message(0, 1.0, 2.0), Waited(0, 1.5, 2.0), StepEnded(0.5, 3.0, 4)]
    late = [*message(0, 4.0, 9.0), Waited(0, 4.5, 9.0), StepEnded(3.5, 9.5, 4)]
    assert program([early]) == program([late])


def test_programs_that_do_other_things_differ():
    assert program([message(0, 1.0, 2.0)]) != program([message(0, 1.0, 2.0, "broadcast")])


def test_a_message_lasts_from_its_issue_to_its_end():
    (event,) = trace([[*message(0, 1.0, 2.5), LIFE]]).of(kind="message")
    assert (event.start_s, event.end_s, event.nbytes, event.line) == (1.0, 2.5, 8, "a.py, line 3")


def test_an_open_wait_ends_with_its_message():
    assert waits(*message(0, 1.0, 4.0), Waited(0, 2.0, -1.0), StepEnded(0.0, 6.0, 1)) == [
        (2.0, 4.0)
    ]


def test_an_open_wait_ends_at_the_latest_when_the_rank_is_seen_doing_something_else():
    told_late = message(0, 1.0, 9.0)
    assert waits(*told_late, Waited(0, 2.0, -1.0), StepEnded(0.0, 6.0, 1)) == [(2.0, 6.0)]


def test_a_message_is_over_when_the_rank_that_waited_for_it_goes_on():
    told_late = [*message(0, 1.0, 9.0), Waited(0, 2.0, -1.0), StepEnded(0.0, 6.0, 1)]
    (event,) = trace([[*told_late, LIFE]]).of(kind="message")
    assert (event.start_s, event.end_s) == (1.0, 6.0)


def test_that_claim_can_fail_without_the_wait():
    nobody_waits = [*message(0, 1.0, 9.0), StepEnded(0.0, 6.0, 1)]
    (event,) = trace([[*nobody_waits, LIFE]]).of(kind="message")
    assert event.end_s == 9.0


def test_open_waits_for_several_buckets_end_each_with_its_own():
    rows = [*message(0, 1.0, 4.0), *message(1, 1.5, 5.0)]
    opened = [Waited(0, 2.0, -1.0), Waited(1, 2.0, -1.0)]
    assert waits(*rows, *opened, StepEnded(0.0, 6.0, 1)) == [(2.0, 4.0), (2.0, 5.0)]


def test_what_is_no_wait_is_compute():
    rows = [*message(0, 1.0, 4.0), Waited(0, 2.0, 4.0)]
    busy = [(e.start_s, e.end_s) for e in trace([[*rows, LIFE]]).of(kind="compute")]
    assert busy == [(0.0, 2.0), (4.0, 10.0)]


def test_a_derived_message_has_the_time_of_its_step():
    rows = [Derived(2.0, "send", 400, (0, 1), "a.py:3"), StepEnded(1.0, 3.0, 1)]
    (event,) = trace([[*rows, LIFE]]).of(kind="message")
    assert (event.start_s, event.end_s, event.nbytes, event.derived) == (1.0, 3.0, 400, True)


def test_zero_is_the_first_line_of_the_first_rank():
    ranks = [[Marked(7.0, "x"), Returned(5.0, 9.0)], [Marked(7.0, "y"), Returned(6.0, 9.0)]]
    assert [event.start_s for event in trace(ranks).of(kind="mark")] == [2.0, 2.0]


def test_what_a_rank_spends_on_waiting_is_no_part_of_its_program():
    seconds = iter([1.0, 2.0, 4.0, 8.0])
    recorder = Recorder(spent=lambda: ((), next(seconds)))
    number = recorder.issue("all_reduce", 8, (0, 1), channel="world")
    recorder.waited(number, recorder.waits(number))
    recorder.computed()
    (ops,) = program([recorder.rows])
    assert [op.cpu_s for op in ops if op.kind == "compute"] == [1.0, 2.0, 8.0]

"""Hangs are found within a second and explained: which rank waits for which, and what to do."""

from __future__ import annotations

import math
import time

import cloudpickle
import jobs
import pytest

import lablib as lab
from lablib.box.box import Box
from lablib.box.limits import Limits
from lablib.cluster import deadlock, hang_advice
from lablib.record.board import Board, BoardFile

IN_ORDER = "every rank of a group must make the same calls in the same order"
RECEIVE = "every rank is waiting to receive: let one rank send first, or use isend and irecv"
SEND = "every rank is waiting to send: let one rank receive first, or use isend and irecv"
NEW_GROUP = "every rank of the cluster must call new_group"
HANGS = [
    (jobs.both_receive, RECEIVE,
     ["rank 0 waits in recv from rank 1", "rank 1 waits in recv from rank 0"]),
    (jobs.both_send_a_lot, SEND, ["rank 0 waits in send to rank 1", "rank 1 waits in send to"]),
    (jobs.different_tags, "use the same tag and group",
     ["rank 0 waits in recv", "rank 1 waits in recv"]),
    (jobs.returns_early, IN_ORDER, ["rank 0 waits in all_reduce", "rank 1 has returned"]),
    (jobs.receives_from_one_that_ended, "rank 1 has ended, but rank 0 still waits",
     ["rank 0 waits in recv from rank 1", "rank 1 has returned"]),
    (jobs.receives_beside_an_all_reduce, "both sides of the recv", ["rank 1 waits in all_reduce"]),
    (jobs.two_orders_of_groups, IN_ORDER, ["rank 0 waits in all_reduce"]),
    (jobs.one_alone_makes_a_group, NEW_GROUP,
     ["rank 0 waits in new_group", "rank 1 has returned"]),
    (jobs.one_makes_a_group_for_itself_first, NEW_GROUP,
     ["rank 0 waits in new_group"]),  # rank 1 may find the address of the first group
    (jobs.one_makes_a_group_beside_an_all_reduce, NEW_GROUP,
     ["rank 0 waits in new_group", "rank 1 waits in all_reduce"]),
    (jobs.one_makes_the_default_group_again, IN_ORDER,
     ["rank 0 waits in init_process_group", "rank 1 has returned"]),
]  # fmt: skip


@pytest.mark.parametrize("job, advice, waits", HANGS, ids=[job.__name__ for job, *_ in HANGS])
def test_a_deadlock_is_found_at_once_and_explained_with_fitting_advice(job, advice, waits):
    started_s = time.monotonic()
    with pytest.raises(lab.ClusterHangs) as caught:
        lab.Cluster(2, timeout_s=60).run(job)
    error = caught.value
    assert all(text in str(error) for text in waits), str(error)
    assert "jobs.py, line" in str(error)
    assert advice in error.do, error.do
    assert (IN_ORDER in error.do) == (advice == IN_ORDER)
    assert not error.timed_out
    assert error.waiting == [rank for rank in range(2) if "waits in" in error.waits[rank]] != []
    assert time.monotonic() - started_s < 30  # much less than its limit of 60 s


def test_members_alone_can_make_a_group_with_local_synchronization():
    run = lab.Cluster(2, timeout_s=60).run(jobs.makes_groups_without_the_others)
    assert run.values == [2, 2]


MANY = [jobs.hangs_after_many_tags, jobs.hangs_after_many_groups]


@pytest.mark.parametrize("job", MANY, ids=lambda job: job.__name__)
def test_a_hang_is_found_and_progress_shown_after_many_channels(job):
    shown = []

    class Watch:
        def __call__(self, boards):
            shown.append((boards[0].steps, boards[0].logged))

        def close(self):
            pass

    with pytest.raises(lab.ClusterHangs) as caught:
        lab.Cluster(2, timeout_s=120).run(job, watch=Watch())
    assert not caught.value.timed_out
    assert caught.value.waits[0].startswith("rank 0 waits in recv from rank 1")
    assert shown[-1] == (1, {"at": 1.0})


def test_a_hang_in_the_box_is_found_after_many_tags():
    cloudpickle.register_pickle_by_value(jobs)  # the box has no such module
    try:
        with Box("torch", limits=Limits(timeout_s=120)) as box:
            ended = box.run(jobs.hangs_after_many_tags, 2)
    finally:
        cloudpickle.unregister_pickle_by_value(jobs)
    assert ended.status == "hang", ended
    assert "rank 0 waits in recv from rank 1" in ended.detail


def test_many_tags_that_are_received_are_no_hang():
    run = lab.Cluster(2, timeout_s=120).run(jobs.many_tags)
    assert run.values == [True, True]


def test_a_board_with_more_channels_than_it_has_places_accuses_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(BoardFile, "CHANNELS", 3)
    path = tmp_path / "board"
    board = BoardFile(str(path))
    for number in range(4):
        board.add_channel(number, f"channel {number}")
        board.count(number, 10 + number)
    found = [BoardFile.issued(path, f"channel {number}") for number in range(5)]
    assert found == [10, 11, 12, math.inf, math.inf]


ALL = Board("waiting", name="all_reduce", group=(0, 1), channel="0", order=2)
RETURNED, RUNNING = Board("returned"), Board("running")


@pytest.mark.parametrize(
    "boards, counts, stuck",
    [
        ([ALL, RETURNED], [2, 1], True),
        ([ALL, RUNNING], [2, 1], False),
        ([ALL, ALL], [2, 2], False),
        ([ALL, ALL._replace(name="broadcast")], [2, 2], True),
        ([ALL, RETURNED], [2, math.inf], False),
        ([RETURNED, RETURNED], [0, 0], False),
    ],
)
def test_only_ranks_that_can_never_go_on_are_called_a_deadlock(boards, counts, stuck):
    assert deadlock.deadlock(boards, lambda rank, channel: counts[rank]) is stuck


def test_what_boards_show_is_believed_when_it_stays_the_same():
    waits = [ALL, RETURNED]
    others = [ALL._replace(order=3), RETURNED]
    suspicion = deadlock.Suspicion()

    def holds(boards, at_s):
        return suspicion.holds(boards, lambda rank, channel: 1, at_s)

    looks = [(9.0, waits), (9.4, waits), (9.6, others), (10.0, others), (10.2, others)]
    assert [holds(boards, at_s) for at_s, boards in looks] == [False] * 4 + [True]
    assert not holds([ALL, RUNNING], 10.3)
    assert not holds(others, 10.4)


@pytest.mark.parametrize(
    "boards, advice",
    [
        ([ALL, RUNNING], "rank 0 waits in all_reduce for rank 1, which has not reached that call"),
        ([ALL, Board()], "rank 0 waits in all_reduce for rank 1, which has not reached that call"),
        ([RUNNING, RUNNING], "in a long loop"),
        ([Board(), Board()], "in a long loop"),
        ([RETURNED, RETURNED], "a thread or a child process"),
    ],
)
def test_ranks_whose_time_is_up_get_advice_that_fits(boards, advice):
    assert advice in hang_advice.advice(boards, lambda rank, channel: 1)

"""Every way in which a rank can fail: the right rank, the right words, nothing left behind."""

from __future__ import annotations

import os
import threading
import time

import jobs
import psutil
import pytest

import lablib as lab
from lablib.cluster import failures, launch
from lablib.errors import LabError

BOTH = ("torch", "tensorflow")
END_WITHIN_S = 10  # five times the two seconds that are promised

FAILURES = [
    (jobs.raises_on_rank_1, BOTH, 1, "raised ValueError: bad shard", 'ValueError("bad shard")'),
    (jobs.raises_on_all, BOTH, None, "raised ValueError: bad shard", "bad shard {me.rank}"),
    (jobs.raises_what_is_no_text, BOTH[:1], None, r"ValueError: shard \udcff", "os.fsdecode"),
    (jobs.exits_3, BOTH, 1, "left with sys.exit(3)", "sys.exit(3)"),
    (jobs.leaves_by_os_exit, BOTH, 1, "ended without returning, exit status 0", ""),
    (jobs.leaves_its_socket_to_a_child, BOTH, 1, "ended without returning, exit status 0", ""),
    (jobs.segfaults, BOTH, 1, "killed by signal SIGSEGV", ""),
    (jobs.is_killed, BOTH, 1, "killed by signal SIGKILL", ""),
    (jobs.returns_a_lock, BOTH, None, "_thread.lock is not plain data", "def returns_a_lock"),
    (jobs.ignores_sigterm, BOTH, 0, "raised ValueError", 'ValueError("bad shard")'),
]
TABLE = [(f, *row) for row in FAILURES for f in row[1]]


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    zygotes = [zygote for zygote in launch._zygotes.values() if zygote.usable()]
    left = {z.process.pid: psutil.Process(z.process.pid).children() for z in zygotes}
    assert not any(left.values()), left
    assert not [path for z in zygotes for path in z.folder.iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    "framework, job, _, rank, what, line",
    TABLE,
    ids=[f"{row[1].__name__}-{row[0]}" for row in TABLE],
)
def test_the_error_names_the_rank_what_happened_and_the_line(framework, job, _, rank, what, line):
    cluster = lab.Cluster(2, framework=framework, timeout_s=60)
    cluster.run(jobs.who)  # warm: what is timed below is the failure
    started_s = time.monotonic()
    with pytest.raises(lab.RankFailed) as caught:
        cluster.run(job)
    error = caught.value
    assert what in error.wrong
    assert line in error.saw
    assert rank is None or (error.rank == rank and f"rank {rank} of 2" in error.wrong)
    assert time.monotonic() - started_s < END_WITHIN_S
    assert len(cluster.run(jobs.who).values) == 2  # the same kernel runs the next cluster


def test_ranks_that_fail_alike_share_a_line():
    with pytest.raises(lab.RankFailed) as caught:
        lab.Cluster(4).run(jobs.raises_on_all)
    others = ", ".join(str(rank) for rank in range(4) if rank != caught.value.rank)
    assert f"ValueError at the same line on rank {others}, too" in caught.value.saw


def test_ranks_that_fail_otherwise_have_lines_of_their_own_but_not_too_many():
    fates = [failures.Fate(rank, code=-9, at_s=rank) for rank in range(6)]
    error = failures.rank_failed(fates, [{}] * 6, [""] * 6, [""] * 6, "folder")
    assert error.rank == 0 and error.saw.count("was killed by signal SIGKILL") == 3
    assert "and 2 more ranks" in error.saw


def test_the_table_can_fail():
    assert lab.Cluster(2).run(jobs.total).values == [1.0, 1.0]


def test_the_log_of_a_failed_run_is_kept_with_its_traceback():
    with pytest.raises(lab.RankFailed) as caught:
        lab.Cluster(2).run(jobs.raises_on_rank_1)
    folder = caught.value.do.rpartition(": ")[2]
    assert "Traceback" in open(os.path.join(folder, "rank1.log")).read()


@pytest.mark.parametrize("framework", BOTH)
def test_a_rank_killed_from_outside_is_named(framework):
    cluster = lab.Cluster(2, framework=framework, timeout_s=60)
    threading.Timer(1.0, lambda: os.kill(cluster._last.pids[1], 9)).start()
    with pytest.raises(lab.RankFailed, match="rank 1 of 2 was killed by signal SIGKILL"):
        cluster.run(jobs.sleeps)


def test_a_function_that_cannot_travel_is_refused_before_a_rank_starts():
    lock = threading.Lock()
    cluster = lab.Cluster(2)
    with pytest.raises(LabError, match="cannot travel"):
        cluster.run(lambda me: lock.acquire())
    assert cluster._last is None


HANGS = [
    (jobs.both_receive, ["rank 0 waits in recv from rank 1", "rank 1 waits in recv from rank 0"]),
    (jobs.returns_early, ["rank 0 waits in all_reduce", "rank 1 has returned"]),
    (jobs.mismatched, ["rank 0 waits in"]),
]


@pytest.mark.parametrize("job, waits", HANGS, ids=[job.__name__ for job, _ in HANGS])
def test_a_deadlock_is_found_at_once_and_explains_itself(job, waits):
    started_s = time.monotonic()
    with pytest.raises((lab.ClusterHangs, lab.RankFailed)) as caught:
        lab.Cluster(2, timeout_s=60).run(job)
    assert all(text in str(caught.value) for text in waits), str(caught.value)
    assert "jobs.py, line" in str(caught.value)
    assert time.monotonic() - started_s < 30  # and not the 60 s that it was given


def test_ranks_that_only_take_long_are_ended_at_the_timeout_with_their_line():
    with pytest.raises(lab.ClusterHangs) as caught:
        lab.Cluster(2, timeout_s=1).run(jobs.sleeps)
    assert "within 1 s" in caught.value.wrong
    assert caught.value.waits[0].startswith("rank 0 is busy at jobs.py, line")


def test_a_rank_that_hangs_up_is_ended_at_the_timeout():
    with pytest.raises(lab.ClusterHangs) as caught:
        lab.Cluster(2, timeout_s=1).run(jobs.hangs_up_after_its_value)
    assert "within 1 s" in caught.value.wrong
    assert caught.value.waits[1] == "rank 1 has returned"


def test_tensorflow_ranks_that_wait_are_ended_at_the_timeout_with_their_line():
    with pytest.raises(lab.ClusterHangs) as caught:
        lab.Cluster(2, framework="tensorflow", timeout_s=5).run(jobs.returns_early)
    assert "jobs.py, line" in caught.value.waits[0]
    assert caught.value.waits[1] == "rank 1 has returned"


def test_an_interrupt_ends_the_ranks_and_the_next_run_works():
    import _thread

    cluster = lab.Cluster(2, timeout_s=60)
    threading.Timer(1.0, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        cluster.run(jobs.sleeps)
    assert cluster.run(jobs.total).values == [1.0, 1.0]


def test_60_mb_of_output_hold_up_nobody_and_the_end_of_it_is_kept():
    run = lab.Cluster(2, timeout_s=60).run(jobs.prints_60_mb)
    assert run.values == [0, 1]
    assert 1e6 < len(run.logs[0]) < 1.2e6
    assert "bytes before this" in run.logs[0].splitlines()[0]


@pytest.mark.parametrize("framework", BOTH)
def test_a_grandchild_ends_with_the_run(framework):
    run = lab.Cluster(2, framework=framework).run(jobs.leaves_a_grandchild)
    assert not [pid for pid in run.values if psutil.pid_exists(pid)]


WAITS = {"state": "waiting", "name": "all_reduce", "group": [0, 1], "channel": "0", "order": 2}


@pytest.mark.parametrize(
    "boards, stuck",
    [
        ([WAITS | {"issued": {"0": 2}}, {"state": "returned", "issued": {"0": 1}}], True),
        ([WAITS | {"issued": {"0": 2}}, {"state": "running", "issued": {"0": 1}}], False),
        ([WAITS | {"issued": {"0": 2}}, WAITS | {"issued": {"0": 2}}], False),
        ([WAITS | {"issued": {"0": 2}}, WAITS | {"name": "broadcast", "issued": {"0": 2}}], True),
        ([{"state": "returned"}, {"state": "returned"}], False),
    ],
)
def test_only_ranks_that_can_never_go_on_are_called_a_deadlock(boards, stuck):
    assert failures.deadlock(boards) is stuck


def test_what_boards_show_is_believed_when_it_stays_the_same():
    waits = [WAITS | {"issued": {"0": 2}}, {"state": "returned", "issued": {"0": 1}}]
    others = [waits[0] | {"order": 3, "issued": {"0": 3}}, waits[1]]
    suspicion = failures.Suspicion()
    looks = [(9.0, waits), (9.4, waits), (9.6, others), (10.0, others), (10.2, others)]
    assert [suspicion.holds(boards, at_s) for at_s, boards in looks] == [False] * 4 + [True]
    assert not suspicion.holds([WAITS, {"state": "running"}], 10.3)
    assert not suspicion.holds(others, 10.4)

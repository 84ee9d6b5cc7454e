"""The error names the right rank and reason, for every way in which a rank can fail.

No process is left after a failure.
"""

from __future__ import annotations

import os
import threading
import time
from functools import partial

import jobs
import psutil
import pytest

import lablib as lab
from lablib.cluster import failures
from lablib.cluster.engine import messages
from lablib.cluster.local import launch, rank_errors
from lablib.cluster.local.connections import Connections
from lablib.errors import LabError
from lablib.record.board import Board

BOTH = ("torch", "tensorflow")
END_WITHIN_S = 10  # five times the promised two seconds

FAILURES = [
    (jobs.raises_on_rank_1, BOTH, 1, "raised ValueError: bad shard", 'ValueError("bad shard")'),
    (jobs.raises_on_all, BOTH, None, "raised ValueError: bad shard", "bad shard {me.rank}"),
    (jobs.raises_what_is_no_text, BOTH[:1], None, r"ValueError: shard \udcff", "os.fsdecode"),
    (jobs.exits_3, BOTH, 1, "called sys.exit(3)", "sys.exit(3)"),
    (jobs.leaves_by_os_exit, BOTH, 1, "ended without returning, exit status 0", ""),
    (jobs.leaves_its_socket_to_a_child, BOTH, 1, "ended without returning, exit status 0", ""),
    (jobs.segfaults, BOTH, 1, "killed by signal SIGSEGV", ""),
    (jobs.is_killed, BOTH, 1, "killed by signal SIGKILL", ""),
    (
        jobs.returns_a_lock,
        BOTH,
        None,
        "_thread.lock cannot be sent to the notebook",
        "def returns_a_lock",
    ),
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
    cluster.run(jobs.who)  # start the zygote first, so that only the failure is timed
    started_s = time.monotonic()
    with pytest.raises(lab.RankFailed) as caught:
        cluster.run(job)
    assert lacks(caught.value, rank, what, line) == []
    assert time.monotonic() - started_s < END_WITHIN_S
    assert len(cluster.run(jobs.who).values) == 2  # the same kernel runs the next cluster


def lacks(error, rank, what, line):
    """Return the expected parts of a row of the table that the error does not contain."""
    lacking = [] if rank is None or error.rank == rank else ["rank"]
    lacking += [] if rank is None or f"rank {rank} of 2" in error.wrong else ["rank in words"]
    lacking += [] if what in error.wrong else ["what happened"]
    return lacking + ([] if line in error.saw else ["line"])


def test_that_claim_can_fail():
    with pytest.raises(lab.RankFailed) as caught:
        lab.Cluster(2).run(jobs.raises_on_rank_1)
    _, _, rank, what, line = FAILURES[0]
    assert lacks(caught.value, 0, what, line) == ["rank", "rank in words"]
    assert lacks(caught.value, rank, "called sys.exit(3)", line) == ["what happened"]
    assert lacks(caught.value, rank, what, "sys.exit(3)") == ["line"]


def test_ranks_that_fail_alike_share_a_line():
    with pytest.raises(lab.RankFailed) as caught:
        lab.Cluster(4).run(jobs.raises_on_all)
    others = ", ".join(str(rank) for rank in range(4) if rank != caught.value.rank)
    assert f"ValueError at the same line on rank {others}, too" in caught.value.saw


def test_ranks_that_fail_otherwise_have_lines_of_their_own_but_not_too_many():
    fates = [failures.Fate(rank, code=-9, at_s=rank) for rank in range(6)]
    failure = failures.Failure(fates, [Board()] * 6, [""] * 6)
    error = failures.rank_failed(failure, [""] * 6, "folder")
    assert error.rank == 0 and error.saw.count("was killed by signal SIGKILL") == 3
    assert "and 2 more ranks" in error.saw


def test_the_log_of_a_failed_run_is_kept_with_its_traceback():
    with pytest.raises(lab.RankFailed) as caught:
        lab.Cluster(2).run(jobs.raises_on_rank_1)
    folder = caught.value.do.rpartition(": ")[2]
    assert "Traceback" in open(os.path.join(folder, "rank1.log")).read()


PORT_IS_TAKEN = ("Address already in use", "Could not start gRPC server")


@pytest.mark.parametrize("text", PORT_IS_TAKEN)
@pytest.mark.parametrize("framework", BOTH)
def test_a_function_runs_once_whatever_it_says(framework, text, tmp_path):
    with pytest.raises(lab.RankFailed, match=text):
        lab.Cluster(1, framework=framework).run(partial(jobs.appends_then_raises, tmp_path, text))
    assert (tmp_path / "calls0").read_text() == "called\n"


def test_a_server_whose_port_is_taken_is_started_again_before_the_function_has_begun(
    monkeypatch, tmp_path
):
    asked = []
    ports = Connections.ports

    def gives_a_port_twice(self, count):
        found = ports(self, count)
        asked.append(found)
        return found if len(asked) > 1 else [found[0], found[1], found[1]]

    monkeypatch.setattr(Connections, "ports", gives_a_port_twice)
    cluster = lab.Cluster(roles={"chief": 1, "worker": 1, "ps": 1}, framework="tensorflow")
    assert cluster.run(partial(jobs.appends, tmp_path)).values == [0, None, None]
    assert len(asked) == 2
    assert (tmp_path / "calls0").read_text() == "called\n"


def test_an_error_of_the_learners_is_no_server_that_did_not_start(tmp_path):
    cluster = lab.Cluster(1, framework="tensorflow")
    with pytest.raises(lab.RankFailed):
        cluster.run(partial(jobs.says_its_server_did_not_start, tmp_path))
    assert (tmp_path / "calls0").read_text() == "called\n"


@pytest.mark.parametrize(
    "job, cause",
    [
        (jobs.raises_on_rank_1, messages.RAISED),
        (jobs.exits_3, messages.LEFT),
        (jobs.returns_a_lock, messages.UNSENDABLE),
        (jobs.asks_for_much_memory, messages.MEMORY),
        (jobs.meets_a_full_disk, messages.DISK),
        (jobs.is_as_it_came, messages.UNWRITTEN),
        (jobs.calls_what_torch_lacks, messages.RAISED),
        (jobs.says_what_a_starter_says, messages.RAISED),
        (jobs.is_killed, failures.DIED),
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_the_error_has_its_cause(job, cause):
    with pytest.raises(lab.RankFailed) as caught:
        lab.Cluster(2, timeout_s=60).run(job)
    assert caught.value.cause == cause


ECHOES = [
    (jobs.dies_while_others_wait, 1),
    (jobs.dies_while_others_send, 1),
    (jobs.dies_before_a_new_group, 1),
]


@pytest.mark.parametrize("job, first", ECHOES, ids=lambda part: getattr(part, "__name__", part))
def test_a_rank_that_fails_because_another_died_is_not_the_first(job, first):
    with pytest.raises(lab.RankFailed) as caught:
        lab.Cluster(2, timeout_s=60).run(job)
    assert (caught.value.rank, caught.value.cause) == (first, failures.DIED)


def test_what_a_learner_says_of_connections_makes_no_echo():
    with pytest.raises(lab.RankFailed) as caught:
        lab.Cluster(2).run(jobs.speaks_of_connections)
    assert caught.value.rank == 0


@pytest.mark.parametrize("framework", BOTH)
def test_a_rank_killed_from_outside_is_named(framework):
    cluster = lab.Cluster(2, framework=framework, timeout_s=60)
    threading.Timer(1.0, lambda: os.kill(cluster._ranks.pids[1], 9)).start()
    with pytest.raises(lab.RankFailed, match="rank 1 of 2 was killed by signal SIGKILL"):
        cluster.run(jobs.sleeps)


def test_a_function_that_cannot_travel_is_refused_before_a_rank_starts():
    lock = threading.Lock()
    cluster = lab.Cluster(2)
    with pytest.raises(LabError, match="cannot be sent"):
        cluster.run(lambda me: lock.acquire())
    assert cluster._ranks is None


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


@pytest.mark.parametrize(
    "module, echo",
    [
        ("torch.nn.parallel.distributed", True),
        ("torch.autograd.graph", True),
        ("torch.nn.functional", False),
        ("__main__", False),
    ],
)
def test_an_error_of_the_code_that_sends_may_be_the_echo_of_another_ranks_death(module, echo):
    try:
        exec("raise RuntimeError('Connection closed by peer')", {"__name__": module})
    except RuntimeError as error:
        assert rank_errors.is_echo(error, waiting=False) == echo

"""The decisions of `supervise`, with a scripted engine and clock, without processes."""

from __future__ import annotations

import pytest

from lablib.cluster import failures
from lablib.cluster.engine import messages
from lablib.cluster.engine.messages import Begun, Died, Failed, Value
from lablib.cluster.failures import Failure, Fate, Hang
from lablib.cluster.spec import Spec
from lablib.cluster.supervise import supervise
from lablib.record.board import Board

BUSY, RETURNED = Board("running"), Board("returned")
RECORD = messages.Record([], [], 0.0, 0, [], [])
ON_SERVERS = Spec.of(roles={"chief": 1, "ps": 1, "worker": 1}, framework="tensorflow")


RECEIVE = [
    Board("waiting", name="recv", group=(1, 0), channel="1>0", order=1),
    Board("waiting", name="recv", group=(0, 1), channel="0>1", order=1),
]


class Scripted:
    """An engine's ranks that follow a script; time passes only while `supervise` waits for events.

    script   (at_s, rank, event), in order of time
    boards   the boards of the ranks, or a function of the time
    answers  True: a rank that may continue sends its record
    """

    def __init__(self, script, boards=(BUSY, BUSY), answers=True):
        self.script, self.shown, self.answers = list(script), boards, answers
        self.now_s, self.let_go_on, self.closed, self.forgotten = 0.0, [], 0, False
        self.pids = {0: 100, 1: 101, 2: 102}

    def clock(self):
        return self.now_s

    def events(self, wait_s):
        self.now_s += wait_s
        come = [(rank, event) for at_s, rank, event in self.script if at_s <= self.now_s]
        self.script = [each for each in self.script if each[0] > self.now_s]
        return come

    def let_go(self, rank):
        self.let_go_on.append((rank, int(self.now_s)))
        if self.answers:
            self.script.append((self.now_s, rank, RECORD))

    def boards(self):
        return list(self.shown(self.now_s) if callable(self.shown) else self.shown)

    def issued(self, rank, channel):
        return 0

    def stacks(self, within_s=0.0):
        self.now_s += within_s
        return [f"asked for {within_s}"] * 2

    def log(self, rank, most_bytes):
        return f"log of rank {rank}"[:most_bytes]

    def close(self):
        self.closed += 1
        return {}


class Watch:
    def __init__(self):
        self.begun, self.boards, self.closed = [], [], 0

    def begins(self, watched):
        self.begun = watched

    def __call__(self, boards):
        self.boards.append(boards)

    def close(self):
        self.closed += 1


def follow(ranks, spec=None, timeout_s=60.0, watch=None):
    """Return what `supervise` returns or raises, and the fates."""
    spec = spec or Spec.of(2)
    fates = [Fate(seat.rank) for seat in spec.seats]
    try:
        end = supervise(ranks, spec, fates, timeout_s, watch or Watch(), ranks.clock)
    except (Failure, Hang) as error:
        end = error
    assert ranks.closed == 1
    return end, fates


def raised(text, at_s=0.0, echo=False):
    return Failed(messages.RAISED, "ValueError", text, [], echo, at_s)


def first(failure):
    """Return rank, cause and text of the failure with which the error begins."""
    fate = failures.in_order(failure.fates)[0]
    return fate.rank, fate.cause or failures.DIED, fate.text


def test_a_run_is_over_when_every_rank_has_returned_and_sent_its_record():
    ranks = Scripted([(1, 0, Begun()), (1, 1, Begun()), (2, 1, Value("b")), (3, 0, Value("a"))])
    end, fates = follow(ranks)
    assert end.values == {0: "a", 1: "b"} and end.records == {0: RECORD, 1: RECORD}
    assert ranks.let_go_on == [(0, 3), (1, 3)]  # only after the last rank has returned
    assert all(fate.begun and fate.returned for fate in fates)


def test_with_servers_nobody_begins_before_all_servers_have_started():
    serving = [(1, 1, Begun()), (5, 2, Begun())]
    ranks = Scripted([*serving, (6, 0, Begun()), (7, 0, Value(1))], [BUSY] * 3, answers=False)
    ranks.script.append((8, 0, RECORD))
    end, _ = follow(ranks, ON_SERVERS)
    assert ranks.let_go_on == [(0, 5), (0, 7)]
    assert end.values == {0: 1}


FAILURES = {
    "the first failure wins": (
        [(1.0, 1, raised("second", at_s=0.9)), (1.1, 0, raised("first", at_s=0.8))],
        (0, messages.RAISED, "first"),
    ),
    "an echo comes after the death that it follows": (
        [(1.0, 0, raised("lost a peer", at_s=0.8, echo=True)), (1.2, 1, Died(-9, 1.0))],
        (1, failures.DIED, ""),
    ),
    "a value does not save a rank that dies": (
        [(1.0, 0, Value(1)), (1.5, 0, Died(1, 1.5))],
        (0, failures.DIED, ""),
    ),
    "an exception explains the death that follows": (
        [(1.0, 0, raised("bad shard")), (1.0, 0, Died(1, 1.0))],
        (0, messages.RAISED, "bad shard"),
    ),
    "a second value is forged": (
        [(1.0, 0, Value(1)), (1.1, 0, Value(2))],
        (0, messages.FORGED, "a rank sent a message out of turn: value"),
    ),
    "a record that nobody asked for is forged": (
        [(1.0, 0, RECORD)],
        (0, messages.FORGED, "a rank sent a message out of turn: record"),
    ),
    "a value after an error is forged": (
        [(1.0, 0, raised("bad shard")), (1.0, 0, Value(2))],
        (0, messages.FORGED, "a rank sent a message out of turn: value"),
    ),
    "what an engine could not read is forged": (
        [(1.0, 1, messages.forged("half a message"))],
        (1, messages.FORGED, "half a message"),
    ),
}


@pytest.mark.parametrize("script, expected", FAILURES.values(), ids=FAILURES)
def test_a_failed_run_is_explained_by_its_first_failure(script, expected):
    ranks = Scripted(script)
    end, fates = follow(ranks)
    assert isinstance(end, Failure) and end.fates is fates
    assert first(end) == expected
    assert end.stacks == ["asked for 0.0"] * 2  # only what fault handlers wrote by themselves
    assert ranks.now_s < 2  # the other ranks get a short time to report their own errors


def test_that_claim_about_echoes_can_fail(monkeypatch):
    # The other ranks get no time to report.
    monkeypatch.setattr("lablib.cluster.supervise._GRACE_S", 0)
    script, expected = FAILURES["an echo comes after the death that it follows"]
    end, _ = follow(Scripted(script))
    assert first(end) == (0, messages.RAISED, "lost a peer") != expected


def test_a_failure_that_comes_too_late_is_not_waited_for():
    end, _ = follow(Scripted([(1.0, 1, raised("early", at_s=1)), (1.5, 0, raised("late"))]))
    assert [fate.rank for fate in end.fates if fate.failed] == [1]


def test_a_rank_that_dies_after_its_record_has_not_failed():
    ranks = Scripted([(1, 0, Value(0)), (2, 1, Value(1))], answers=False)
    ranks.script += [(3, 0, RECORD), (3, 0, Died(0, 3.0)), (4, 1, RECORD)]
    end, fates = follow(ranks)
    assert end.values == {0: 0, 1: 1} and not any(fate.failed for fate in fates)


def test_a_record_after_the_end_is_forged():
    ranks = Scripted([(1, 0, Value(0)), (1, 1, Value(1))])
    ranks.script.append((1, 0, RECORD))
    ranks.answers = False
    end, _ = follow(ranks)
    assert first(end)[:2] == (0, messages.FORGED)


def test_ranks_that_wait_for_one_another_hang_within_a_second():
    ranks = Scripted([], RECEIVE)
    end, fates = follow(ranks)
    assert isinstance(end, Hang) and not end.timed_out and ranks.now_s < 1.2
    assert "none of them can continue" in end.why and "let one rank send first" in end.advice
    assert end.stacks == ["asked for 0.5"] * 2
    assert not any(fate.failed for fate in fates)


def test_ranks_that_go_on_at_times_do_not_hang():
    def boards(now_s):
        return [RECEIVE[0]._replace(order=int(now_s / 0.3) + 1), RECEIVE[1]]

    end, _ = follow(Scripted([(5, 0, Value(0)), (5, 1, Value(1))], boards))
    assert end.values == {0: 0, 1: 1}


@pytest.mark.parametrize("boards", [(BUSY, BUSY), (RECEIVE[0], BUSY), (RETURNED, RETURNED)])
def test_other_ranks_are_ended_when_their_time_is_up(boards):
    ranks = Scripted([], boards)
    end, _ = follow(ranks, timeout_s=7)
    assert isinstance(end, Hang) and end.timed_out and end.why.endswith("within 7 s.")
    assert 7 < ranks.now_s < 8


def test_ranks_that_return_but_send_no_record_are_ended_when_their_time_is_up():
    ranks = Scripted([(5, 0, Value(0)), (5, 1, Value(1))], (RETURNED, RETURNED), answers=False)
    end, fates = follow(ranks, timeout_s=7)
    assert end.timed_out and 12 < ranks.now_s < 13
    assert all(fate.returned for fate in fates)


def test_the_observer_learns_who_the_ranks_are_sees_all_boards_and_is_closed():
    watch = Watch()
    follow(Scripted([(0.2, 0, Value(0)), (0.2, 1, Value(1))]), watch=watch)
    assert [(each.rank, each.pid, each.log(3)) for each in watch.begun] == [
        (0, 100, "log"), (1, 101, "log"),
    ]  # fmt: skip
    assert len(watch.boards) >= 4 and watch.boards[0] == [BUSY, BUSY]
    assert watch.closed == 1


def test_an_observer_that_stops_the_run_ends_the_ranks():
    class Stops(Watch):
        def __call__(self, boards):
            raise KeyboardInterrupt

    ranks, watch = Scripted([]), Stops()
    with pytest.raises(KeyboardInterrupt):
        supervise(ranks, Spec.of(2), [Fate(0), Fate(1)], 60.0, watch, ranks.clock)
    assert (ranks.closed, watch.closed) == (1, 1)

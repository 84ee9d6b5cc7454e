"""Follow a run to its end: decide whether it has ended, failed or hangs.

All information comes from the `Ranks` of an engine. This module uses no sockets, processes or
files.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from lablib.cluster import deadlock, hang_advice
from lablib.cluster.engine import Event, Ranks, messages
from lablib.cluster.engine.messages import Begun, Died, Failed, Record, Value
from lablib.cluster.failures import Failure, Fate, Hang
from lablib.cluster.spec import Spec

_POLL_S = 0.05
_GRACE_S = 0.3  # time for messages of the other ranks after one has failed
_STACKS_WITHIN_S = 0.5


class Watched(NamedTuple):
    """One rank of a run, for an observer: its number and role, its process, the end of its log.

    pid   the process number on the machine of the rank
    log   log(most_bytes) returns the last bytes of the rank's output
    """

    rank: int
    role: str
    node: int
    pid: int
    log: Callable[[int], str]


class Returned(NamedTuple):
    """What the ranks that ran the function returned and recorded, by rank."""

    values: dict[int, object]
    records: dict[int, Record]


def supervise(
    ranks: Ranks,
    spec: Spec,
    fates: list[Fate],
    timeout_s: float,
    watch: Callable,
    clock: Callable[[], float] = time.monotonic,
) -> Returned:
    """Follow the ranks to the end of the run, and close them.

    fates   one for each rank; they are updated in place, so they are known however the run ends
    watch   a function that is called about 20 times a second with the boards of all ranks, and
            closed at the end. If it has a method `begins`, this is called first with a list of
            `Watched`

    Raises Failure if a rank fails, and Hang if the ranks cannot continue or take too long.
    """
    with contextlib.closing(ranks), contextlib.closing(watch):
        if hasattr(watch, "begins"):
            watch.begins([
                Watched(s.rank, s.role, s.node, ranks.pids[s.rank], partial(ranks.log, s.rank))
                for s in spec.seats
            ])  # fmt: skip
        return _Supervision(ranks, spec, fates, timeout_s, watch, clock).run()


class _Supervision:
    """The state of one run under supervision. See `supervise`."""

    def __init__(self, ranks, spec, fates, timeout_s, watch, clock):
        self.ranks = ranks
        self.called = spec.called
        self.fates = fates
        self.timeout_s = timeout_s
        self.watch = watch
        self.clock = clock
        self.values: dict[int, object] = {}
        self.records: dict[int, Record] = {}
        self.asked: set[int] = set()  # ranks that were asked for their records
        self.suspicion = deadlock.Suspicion()

    def run(self) -> Returned:
        self._let_begin()
        self._until(lambda: len(self.values) == len(self.called))
        self.asked.update(self.called)
        self._let_go()
        self._until(lambda: len(self.records) == len(self.called))
        return Returned(self.values, self.records)

    def _let_begin(self):
        """Let functions begin; if there are servers, only after all of them have started."""
        serving = [fate for fate in self.fates if fate.rank not in self.called]
        if serving:
            self._until(lambda: all(fate.begun for fate in serving))
            self._let_go()

    def _let_go(self):
        for rank in self.called:
            self.ranks.let_go(rank)

    def _until(self, finished):
        give_up_s = self.clock() + self.timeout_s
        while not finished():
            self._hear()
            if any(fate.failed for fate in self.fates):
                self._fail()
            self._look(give_up_s)

    def _hear(self):
        for rank, event in self.ranks.events(_POLL_S):
            if isinstance(event, Died):
                self._note_death(self.fates[rank], event)
            elif self._in_turn(rank, event):
                self._note(self.fates[rank], event)
            else:
                forged = messages.forged(
                    f"a rank sent a message out of turn: {messages.kind(event)}"
                )
                self._note(self.fates[rank], forged)

    def _in_turn(self, rank: int, event: Event) -> bool:
        """Return True if this message of a rank is allowed now.

        A rank sends its beginning, its value and, when asked, its record. Instead it may send an
        error, which is its last message.
        """
        fate = self.fates[rank]
        turn = {
            Begun: not (fate.begun or fate.returned),
            Value: not fate.returned,
            Record: rank in self.asked,
            Failed: True,
        }
        return turn[type(event)] and not fate.cause and rank not in self.records

    def _note(self, fate, event):
        if isinstance(event, Begun):
            fate.begun = True
        elif isinstance(event, Value):
            self.values[fate.rank], fate.returned = event.value, True
        elif isinstance(event, Record):
            self.records[fate.rank] = event
        else:
            fate.cause = event.cause
            fate.error = event.type
            fate.text = event.text
            fate.frames = event.frames
            fate.echo = event.echo
            fate.at_s = event.at_s

    def _note_death(self, fate, died):
        if not fate.cause and fate.rank not in self.records:
            fate.code = died.code
            fate.at_s = died.at_s
            fate.returned = False

    def _fail(self):
        until_s = self.clock() + _GRACE_S
        while self.clock() < until_s and not all(fate.failed for fate in self.fates):
            self._hear()
        raise Failure(self.fates, self.ranks.boards(), self.ranks.stacks())

    def _look(self, give_up_s):
        """Show the boards to the observer; raise Hang if the time is up or no rank can continue."""
        boards = self.ranks.boards()
        self.watch(boards)
        now_s = self.clock()
        if now_s > give_up_s:
            self._hang(boards, timed_out=True)
        if self.suspicion.holds(boards, self.ranks.issued, now_s):
            self._hang(boards, timed_out=False)

    def _hang(self, boards, timed_out):
        stacks = self.ranks.stacks(within_s=_STACKS_WITHIN_S)
        why, advice = hang_advice.explain(boards, self.ranks.issued, timed_out and self.timeout_s)
        raise Hang(boards, stacks, why, advice, timed_out)

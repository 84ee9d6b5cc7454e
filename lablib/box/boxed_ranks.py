"""The ranks of one run in the box, from the view of the grader.

Everything that comes from a rank may be forged. It is read within bounds and never used as a name:
a file name in a traceback is shown, but the file is not opened.
"""

from __future__ import annotations

import fcntl
import os

from lablib.box import run_ending
from lablib.box.namespaces import TEMPORARY
from lablib.box.rank_output import Printed
from lablib.box.relay import Relay
from lablib.cluster.engine import Event, Work, wire
from lablib.cluster.local.connections import Connections
from lablib.cluster.local.rank_job import rank_job
from lablib.cluster.spec import Spec
from lablib.record.board import Board, BoardFile

_MOST_ELEMENTS = 4_000_000
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_KEPT_STACK_BYTES = 1 << 14


class BoxedRanks:
    """Implements `Ranks`. The keeper forks a rank set; its ranks share no file with the grader.

    engine    a `BoxEngine`
    printed   collects the output of the ranks
    relay     passes on the messages of ranks without a network; None if they have a network
    """

    def __init__(self, engine, spec: Spec, work: Work, own: list | None):
        self.spec = spec
        self._engine = engine
        limits = engine.limits
        self._outside: dict | None = None  # the keeper's report, after the set has ended
        bounds = wire.Bounds(limits.answer_bytes, _MOST_ELEMENTS, plain_keys=True)
        self._connections = Connections(
            engine.open_run(), limits.timeout_s, bounds, self._ended_at_once
        )
        self.pids = self._connections.pids
        self.let_go = self._connections.let_go
        self.printed = Printed(range(spec.ranks), limits.kept_bytes)
        self._stacks = Printed(range(spec.ranks), _KEPT_STACK_BYTES)
        self._boards = [_file_in_memory(BoardFile.SIZE) for _ in range(spec.ranks)]
        self.relay = Relay(spec.ranks) if limits.apart else None
        self._functions = _opened_apart(work.payload, spec.ranks)
        try:
            self._start(work, own)
        except BaseException:
            self.close()
            self.forget()
            raise

    def events(self, wait_s: float) -> list[tuple[int, Event]]:
        return self._connections.events(wait_s)

    def boards(self) -> list[Board]:
        return [BoardFile.read(_path(descriptor)) for descriptor in self._boards]

    def issued(self, rank: int, channel: str) -> float:
        return BoardFile.issued(_path(self._boards[rank]), channel)

    def stacks(self, within_s: float = 0.0) -> list[str]:
        ranks = range(self.spec.ranks)
        return self._connections.stacks(
            within_s, lambda: [self._stacks.text(rank) for rank in ranks]
        )

    def log(self, rank: int, most_bytes: int) -> str:
        return self.printed.text(rank)[-most_bytes:]

    def close(self) -> dict:
        if self._outside is None:
            self._outside = {}
            try:
                self._outside = self._engine.end_run()
            finally:
                self._connections.hang_up()
        return self._outside

    def forget(self) -> None:
        self.printed.close()
        self._stacks.close()
        if self.relay:
            self.relay.close()
        for descriptor in (*self._functions, *self._boards):
            os.close(descriptor)

    def _start(self, work, own):
        ports = self._connections.ports(self.spec.ranks)
        # The set replaces the paths by those of the open files that it passes to the rank.
        place = dict(
            payload="", has_own=own is not None, temporary=TEMPORARY, files={}, cwd=TEMPORARY,
            path=self._engine.path, sources={}, changed_env={},
        )  # fmt: skip
        for seat in self.spec.seats:
            job = rank_job(self.spec, seat, work, ports, **place)
            self._connections.start(job, self._handed_to(seat.rank))
        for rank in self.spec.called if own is not None else ():
            self._connections.send(rank, {"own": own[rank]})

    def _handed_to(self, rank):
        """Return descriptors of the open files for this rank."""
        pipes = self.printed.writing[rank], self._stacks.writing[rank]
        line = (self.relay.theirs[rank].fileno(),) if self.relay else ()
        return self._functions[rank], self._boards[rank], *pipes, *line

    def _ended_at_once(self):
        return run_ending.all_at_once(self.close())


def _path(descriptor):
    return f"/proc/self/fd/{descriptor}"


def _opened_apart(content, times):
    """Return independent descriptors of one file that cannot be changed.

    Each has its own position, so the position of one reveals nothing about the others.
    """
    whole = _file_in_memory(len(content), content, fcntl.F_SEAL_WRITE)
    try:
        return [os.open(_path(whole), os.O_RDONLY) for _ in range(times)]
    finally:
        os.close(whole)


def _file_in_memory(size, content=b"", seals=0):
    """Return the descriptor of a file of fixed size without a name. Its zeros need no memory."""
    descriptor = os.memfd_create("box", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
        file.truncate(size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS | seals)
    return descriptor

"""The ranks of one run on this computer, from the view of the kernel."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from lablib.cluster.engine import Event, Work, wire
from lablib.cluster.local.connections import Connections
from lablib.cluster.local.rank_job import cells, rank_job
from lablib.cluster.logs import Echo, keep_logs, read_log
from lablib.cluster.spec import Spec
from lablib.errors import LabError
from lablib.record.board import Board, BoardFile

_LARGEST_STACK_BYTES = 1 << 20
_FILES = ("log", "board", "stack", "traceback")


class LocalRanks:
    """Implements `Ranks`. The zygote forks the processes; their files are in a folder of the run.

    zygote   a `launch.ZygoteProcess`
    own      by rank, the data for this rank alone; they are sent to the rank directly, not through
             the zygote
    """

    def __init__(self, zygote, spec: Spec, work: Work, own: list | None):
        self.spec, self.zygote = spec, zygote
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=zygote.folder))
        self.echo = Echo(self._files("log")) if work.echo else None
        self.connections = Connections(
            zygote.open_run(), work.timeout_s, wire.ANY_SIZE, self._zygote_died
        )
        self.pids = self.connections.pids
        self.let_go = self.connections.let_go
        try:
            self._start(work, own)
        except BaseException:
            self.close()
            self.forget()
            raise

    def events(self, wait_s: float) -> list[tuple[int, Event]]:
        found = self.connections.events(wait_s)
        if self.echo:
            self.echo.show()
        return found

    def boards(self) -> list[Board]:
        return [BoardFile.read(path) for path in self._files("board")]

    def issued(self, rank: int, channel: str) -> float:
        return BoardFile.issued(self._file(rank, "board"), channel)

    def stacks(self, within_s: float = 0.0) -> list[str]:
        stacks = self._files("stack")
        return self.connections.stacks(
            within_s, lambda: [read_log(path, _LARGEST_STACK_BYTES) for path in stacks]
        )

    def log(self, rank: int, most_bytes: int) -> str:
        return read_log(self._file(rank, "log"), most_bytes)

    def keep_logs(self) -> Path | str:
        """Copy logs and tracebacks to a place where they survive the run; return the place."""
        return keep_logs(self.folder, self.spec.ranks)

    def close(self) -> dict:
        self.connections.close()
        if self.echo:
            self.echo.show()
        return {}

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, work, own):
        payload = self.folder / "function"
        payload.write_bytes(work.payload)
        ports = self.connections.ports(self.spec.ranks)
        place = dict(
            payload=str(payload), has_own=own is not None, temporary=str(self.folder),
            cwd=os.getcwd(), path=sys.path, sources=cells(),
            changed_env=self.zygote.changed_environment(),
        )  # fmt: skip
        for seat in self.spec.seats:
            files = {kind: str(self._file(seat.rank, kind)) for kind in _FILES}
            self.connections.start(rank_job(self.spec, seat, work, ports, files=files, **place))
        for rank in self.spec.called if own is not None else ():
            self.connections.send(rank, {"own": own[rank]})

    def _file(self, rank, kind):
        return self.folder / f"rank{rank}.{kind}"

    def _files(self, kind):
        return [self._file(seat.rank, kind) for seat in self.spec.seats]

    def _zygote_died(self):
        return LabError(
            "The process that starts the ranks has died.",
            saw=f"zygote of {self.spec.framework}, pid {self.zygote.process.pid}",
            do="run the cell again, which starts a new one; the memory may have run out",
        )

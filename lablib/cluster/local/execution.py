"""One run of a function on all ranks, seen from the kernel: start, listen, explain, clear up."""

from __future__ import annotations

import contextlib
import linecache
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lablib.cluster import deadlock, definitions, failures, hang_advice
from lablib.cluster.engine import messages, wire
from lablib.cluster.local import launch
from lablib.cluster.logs import Echo, keep_logs, read_log
from lablib.cluster.spec import Spec, threads_per_rank
from lablib.computer.facts import cores
from lablib.errors import LabError
from lablib.hardware.hardware import Hardware
from lablib.record import learners_code
from lablib.record.board import BoardFile

_POLL_S = 0.05
_GRACE_S = 0.3  # for the other ranks' own words, once one has failed
_STACKS_WITHIN_S = 0.5
_BEYOND_TIMEOUT_S = 60  # the framework's own limit: ours must speak first
_LARGEST_LOG_BYTES = 1 << 20
_FILES = ("log", "board", "stack", "traceback")


class Watched(NamedTuple):
    """One rank of a run, for its observer: its number and role, its process, its log."""

    rank: int
    role: str
    node: int
    pid: int
    log: Path


class Execution:
    """Runs `function(me)` on every rank of `spec` once.

    hardware   what is modelled; None when times are measured
    own        by rank, what only this rank gets: sent to the rank itself, past the zygote; or None
    watch      called some 20 times a second with the boards of all ranks, and closed at the end:
               for progress bars. What has a method `begins` is first told of all ranks (Watched)
    zygote     what the ranks are forked from; the notebook's own when not given
    """

    bounds = wire.ANY_SIZE  # of what a rank may send

    def __init__(
        self,
        spec: Spec,
        function: Callable,
        hardware: Hardware | None,
        *,
        timeout_s,
        echo,
        watch,
        own=None,
        zygote: launch.ZygoteProcess | None = None,
    ):
        self.spec, self.hardware, self.timeout_s, self.watch = spec, hardware, timeout_s, watch
        self.payload, self.own = _pickled(function), own
        self.zygote = zygote or launch.zygote(spec.framework)
        self.zygote.wait_ready()
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=self.zygote.folder))
        self.fates = [failures.Fate(seat.rank) for seat in spec.seats]
        self.pids: dict[int, int] = {}
        self.values: dict[int, object] = {}
        self.records: dict[int, dict] = {}
        self.readers: dict[int, wire.Reader] = {}
        self.asked: set[int] = set()  # for their records
        self.echo = Echo(self._files("log")) if echo else None
        self.called = [seat.rank for seat in spec.seats if not spec.serves(seat)]
        self.suspicion = deadlock.Suspicion()

    def run(self) -> None:
        """Run to the end. Raises RankFailed, ClusterHangs, KeyboardInterrupt; leaves no process."""
        self.channel = self.zygote.open_run()
        try:
            self._start_ranks()
            if hasattr(self.watch, "begins"):
                self.watch.begins(self._watched())
            self._let_begin()
            self._until(lambda: len(self.values) == len(self.called))
            self.asked.update(self.called)
            self._send_byte()
            self._until(lambda: len(self.records) == len(self.called))
        finally:
            self._close()

    @property
    def begun(self) -> bool:
        """True if the function has begun on any rank."""
        return any(self.fates[rank].begun for rank in self.called)

    def logs(self) -> list[str]:
        """What each rank printed; of a long log the last 1 MB."""
        return [read_log(path, _LARGEST_LOG_BYTES) for path in self._files("log")]

    def forget(self) -> None:
        """Remove the run's files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _watched(self):
        logs = self._files("log")
        return [
            Watched(seat.rank, seat.role, seat.node, self.pids[seat.rank], log)
            for seat, log in zip(self.spec.seats, logs)
        ]

    def _files(self, suffix):
        return [self.folder / f"rank{seat.rank}.{suffix}" for seat in self.spec.seats]

    def _start_ranks(self):
        wire.send(self.channel, {"op": "ports", "count": self.spec.ranks})
        ports = self._answer("ports")
        job = self._job()
        for seat in self.spec.seats:
            ours, theirs = socket.socketpair()
            ours.settimeout(self.timeout_s)
            files = theirs.fileno(), *self._handed_to(seat)
            wire.send(self.channel, {"op": "rank", "job": job | self._own(seat, ports)}, files)
            self.pids[seat.rank] = self._answer("pid")
            self.readers[seat.rank] = wire.Reader(ours, self.bounds)
            theirs.close()
        for rank in self.called if self.own is not None else ():
            with _unless_it_died():
                wire.send(self.readers[rank].sock, {"own": self.own[rank]})

    def _let_begin(self):
        """Where there are servers, nobody's function begins before all of them have started."""
        serving = [fate for fate in self.fates if fate.rank not in self.called]
        if serving:
            self._until(lambda: all(fate.begun for fate in serving))
            self._send_byte()

    def _send_byte(self):
        for rank in self.called:
            with _unless_it_died():
                self.readers[rank].sock.send(b"!")

    def _handed_to(self, seat):
        """Descriptors of open files that go to this rank."""
        return ()

    def _job(self):
        """What all ranks of this run are told."""
        return {
            "payload": str(self._left_function()),
            "has_own": self.own is not None,
            "has_servers": len(self.called) < self.spec.ranks,
            "changed_env": self.zygote.changed_environment(),
            "cwd": os.getcwd(),
            "path": sys.path,
            "sources": _cells(),
            "threads": self._threads(),
            "modelled": self.hardware is not None,
            "counts": self.hardware is not None and not self.hardware.device.is_host,
            "timeout_s": self.timeout_s + _BEYOND_TIMEOUT_S,
            "tasks": [[s.role, s.index, s.rank] for s in self.spec.seats if s.role != "evaluator"],
        }

    def _left_function(self):
        path = self.folder / "function"
        path.write_bytes(self.payload)
        return path

    def _own(self, seat, ports):
        """Return the part of the job that only this rank receives."""
        device = "cpu" if self.spec.device == "cpu" else f"cuda:{seat.rank % self._gpus()}"
        loopback = "lo0" if sys.platform == "darwin" else "lo"
        env = self.spec.environment(seat, ports) | {
            "TMPDIR": str(self.folder),  # TensorFlow leaves a file for every function it traces
            "OMP_NUM_THREADS": str(self._threads()),
            "GLOO_SOCKET_IFNAME": loopback,
            "TP_SOCKET_IFNAME": loopback,  # torch's rpc
        }
        if self.spec.device == "cpu":
            env["CUDA_VISIBLE_DEVICES"] = ""
        return {
            "files": {kind: str(self.folder / f"rank{seat.rank}.{kind}") for kind in _FILES},
            "env": env,
            "port": ports[seat.rank],
            "serves": self.spec.serves(seat),
            "seat": {
                "rank": seat.rank, "ranks": self.spec.ranks, "node": seat.node,
                "role": seat.role, "device": device, "framework": self.spec.framework,
            },
        }  # fmt: skip

    def _threads(self):
        return self.spec.threads or threads_per_rank(cores(), self.spec.ranks)

    def _gpus(self):
        from lablib.computer.facts import gpus

        return max(1, len(gpus()))

    def _answer(self, key):
        """The zygote's answer; deaths that it tells of meanwhile are kept."""
        while True:
            message, _ = wire.receive(self.channel)
            if message is None:
                raise self._zygote_died()
            if key in message:
                return message[key]
            self._death(message)

    def _until(self, finished):
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ)
            for rank, reader in self.readers.items():
                selector.register(reader, selectors.EVENT_READ, rank)
            give_up_s = time.monotonic() + self.timeout_s
            while not finished():
                for key, _ in selector.select(_POLL_S):
                    self._hear(selector, key)
                if any(fate.failed for fate in self.fates):
                    self._fail(selector)
                self._look(give_up_s)

    def _hear(self, selector, key):
        if key.data is None:
            message, _ = wire.receive(self.channel)
            if message is None:
                raise self._zygote_died()
            return self._death(message)
        self._listen(key.data)
        if self.readers[key.data].ended:
            selector.unregister(key.fileobj)

    def _listen(self, rank):
        fate = self.fates[rank]
        try:
            for message in self.readers[rank].messages():
                self._understand(rank, message)
        except ValueError as error:
            fate.cause, fate.error, fate.text = failures.FORGED, "NotARanksMessage", str(error)

    def _understand(self, rank, message):
        """Take a message in its turn: the beginning, a value, when asked a record; or an error,
        which is the last word."""
        fate = self.fates[rank]
        kind = messages.kind_of(message)
        turn = {
            "begun": not (fate.begun or fate.returned),
            "value": not fate.returned,
            "record": rank in self.asked,
            "error": True,
        }[kind]
        if fate.cause or rank in self.records or not turn:
            raise ValueError(f"a rank sent a {kind} out of turn")
        if kind == "begun":
            fate.begun = True
        elif kind == "value":
            self.values[rank], fate.returned = message["value"], True
        elif kind == "record":
            self.records[rank] = message
        else:
            fate.cause, fate.error = message["cause"], message["type"]
            fate.text, fate.frames, fate.echo = message["text"], message["frames"], message["echo"]
            fate.at_s = message["at_s"]

    def _death(self, message):
        rank = message["rank"]
        self._listen(rank)  # its last words come before its death
        fate = self.fates[rank]
        if not fate.cause and rank not in self.records:
            fate.code, fate.at_s, fate.returned = message["exit"], message["at_s"], False

    def _hear_the_others(self, selector):
        until_s = time.monotonic() + _GRACE_S
        while time.monotonic() < until_s and not all(fate.failed for fate in self.fates):
            for key, _ in selector.select(_POLL_S):
                self._hear(selector, key)

    def _fail(self, selector):
        self._hear_the_others(selector)
        boards, stacks = self._boards(), self._stacks()
        self._close()
        kept = keep_logs(self.folder, self.spec.ranks)
        raise failures.rank_failed(self.fates, boards, stacks, self.logs(), kept)

    def _look(self, give_up_s):
        """At clock, logs and boards: is time up, is there something to show, does nothing move?"""
        boards = self._boards()
        if self.echo:
            self.echo.show()
        self.watch(boards)
        now_s = time.monotonic()
        if now_s > give_up_s:
            self._hang(boards, timed_out=True)
        if self.suspicion.holds(boards, self._issued, now_s):
            self._hang(boards, timed_out=False)

    def _hang(self, boards, timed_out):
        self._ask_for_stacks()
        stacks = self._stacks()
        why, advice = hang_advice.explain(boards, self._issued, timed_out and self.timeout_s)
        self._close()
        kept = keep_logs(self.folder, self.spec.ranks)
        raise failures.cluster_hangs(boards, stacks, why, advice, kept, timed_out)

    def _issued(self, rank, channel):
        return BoardFile.issued(self._board_paths()[rank], channel)

    def _board_paths(self):
        return self._files("board")

    def _ask_for_stacks(self):
        """Where the ranks are, by their own fault handlers: also of a rank deep in C++."""
        wire.send(self.channel, {"op": "signal", "number": int(signal.SIGUSR1)})
        until_s = time.monotonic() + _STACKS_WITHIN_S
        while time.monotonic() < until_s and not self._told_where():
            time.sleep(_POLL_S)

    def _told_where(self):
        return all(map(_written, self._files("stack")))

    def _stacks(self):
        return [path.read_text() if _written(path) else "" for path in self._files("stack")]

    def _boards(self):
        return [BoardFile.read(path) for path in self._board_paths()]

    def _close(self):
        """End every process of the run. Twice is harmless."""
        if self.channel.fileno() < 0:
            return
        self.watch.close()
        try:
            wire.send(self.channel, {"op": "close"})
            self.channel.settimeout(5)
            while (message := wire.receive(self.channel)[0]) is not None:
                if "closed" in message:
                    break
        except (OSError, EOFError):
            pass  # the zygote is gone, and its ranks with it
        self.channel.close()
        for reader in self.readers.values():
            reader.sock.close()
        if self.echo:
            self.echo.show()

    def _zygote_died(self):
        return LabError(
            "The process that starts the ranks has died.",
            saw=f"zygote of {self.spec.framework}, pid {self.zygote.process.pid}",
            do="run the cell again: a new one is started. Was the memory used up?",
        )


def _unless_it_died():
    """Around what is sent to a rank: one that has died, or stands still, is noticed soon."""
    return contextlib.suppress(ConnectionError, TimeoutError)


def _pickled(function):
    if not callable(function):
        raise LabError(
            "cluster.run needs a function.",
            saw=repr(function),
            do="define `def work(me): ...` and write cluster.run(work)",
        )
    try:
        return definitions.packed(function)
    except Exception as error:
        code = getattr(function, "__code__", None)
        line = code and learners_code.place(f"{code.co_filename}:{code.co_firstlineno}")
        raise LabError(
            f"The function {getattr(function, '__name__', function)!r} cannot travel to the ranks.",
            saw=f"{type(error).__name__}: {error}" + (f" ({line})" if line else ""),
            do="make files, locks and connections inside the function, not outside it",
        ) from None


def _cells():
    """Text and name of notebook cells that ran: they are in no file that a rank could read."""
    return {
        name: ["".join(entry[2]), learners_code.cell_name(name)]
        for name, entry in list(linecache.cache.items())
        if len(entry) == 4 and entry[1] is None and "ipykernel" in name
    }


def _written(path):
    return path.exists() and path.stat().st_size > 0

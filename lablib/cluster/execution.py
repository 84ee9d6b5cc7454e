"""One run of a function on all ranks, seen from the kernel: start, listen, explain, clear up."""

from __future__ import annotations

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

from lablib.cluster import failures, launch, wire
from lablib.cluster.logs import Echo, keep_logs, read_log
from lablib.cluster.spec import Spec, threads_per_rank
from lablib.errors import LabError
from lablib.machine import cores
from lablib.record.recorder import Board

_POLL_S = 0.05
_GRACE_S = 0.3  # for the other ranks' own words, once one has failed
_SUSPECT_S = 0.5  # between two looks at boards that must show the same deadlock
_STACKS_WITHIN_S = 0.5
_BEYOND_TIMEOUT_S = 60  # the framework's own limit: ours must speak first
_LARGEST_LOG_BYTES = 1 << 20


class Execution:
    """Runs `function(me)` on every rank of `spec` once.

    watch   called some 20 times a second with the boards of all ranks, and closed at the end:
            for progress bars
    """

    def __init__(self, spec: Spec, function: Callable, *, timeout_s, echo, watch):
        self.spec, self.timeout_s, self.watch = spec, timeout_s, watch
        self.payload = _pickled(function)
        self.zygote = launch.zygote(spec.framework)
        self.zygote.wait_ready()
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=self.zygote.folder))
        self.fates = [failures.Fate(seat.rank) for seat in spec.seats]
        self.pids: dict[int, int] = {}
        self.values: dict[int, object] = {}
        self.records: dict[int, dict] = {}
        self.readers: dict[int, wire.Reader] = {}
        self.echo = Echo(self._files("log")) if echo else None
        self.called = [seat.rank for seat in spec.seats if not spec.serves(seat)]
        self.suspected_s = 0.0

    def run(self) -> None:
        """Run to the end. Raises RankFailed, ClusterHangs, KeyboardInterrupt; leaves no process."""
        self.channel = self.zygote.open_run()
        try:
            self._start_ranks()
            self._until(lambda: len(self.values) == len(self.called))
            for rank in self.called:
                self.readers[rank].sock.send(b"!")
            self._until(lambda: len(self.records) == len(self.called))
        finally:
            self._close()

    def logs(self) -> list[str]:
        """What each rank printed; of a long log the last 1 MB."""
        return [read_log(path, _LARGEST_LOG_BYTES) for path in self._files("log")]

    def forget(self) -> None:
        """Remove the run's files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self, suffix):
        return [self.folder / f"rank{seat.rank}.{suffix}" for seat in self.spec.seats]

    def _start_ranks(self):
        (self.folder / "function").write_bytes(self.payload)
        ports, listening = self._meeting_place()
        job = self._job()
        for seat in self.spec.seats:
            ours, theirs = socket.socketpair()
            fds = [theirs.fileno()]
            if listening is not None and seat.rank == 0:
                fds.append(listening.fileno())
            wire.send(self.channel, {"op": "rank", "job": job | self._own(seat, ports)}, tuple(fds))
            self.pids[seat.rank] = self._answer("pid")
            self.readers[seat.rank] = wire.Reader(ours)
            theirs.close()
        if listening is not None:
            listening.close()

    def _meeting_place(self):
        """Ports of the ranks. Torch's store is served on a socket that is listening by now."""
        if self.spec.framework == "torch":
            listening = socket.create_server(("127.0.0.1", 0), backlog=self.spec.ranks + 16)
            return [listening.getsockname()[1]] * self.spec.ranks, listening
        wire.send(self.channel, {"op": "ports", "count": self.spec.ranks})
        return self._answer("ports"), None

    def _job(self):
        """What all ranks of this run are told."""
        return {
            "payload": str(self.folder / "function"),
            "cwd": os.getcwd(),
            "path": sys.path,
            "sources": _cells(),
            "threads": self._threads(),
            "timeout_s": self.timeout_s + _BEYOND_TIMEOUT_S,
            "tasks": [[s.role, s.index, s.rank] for s in self.spec.seats if s.role != "evaluator"],
        }

    def _own(self, seat, ports):
        """What only this rank is told."""
        device = "cpu" if self.spec.device == "cpu" else f"cuda:{seat.rank % self._gpus()}"
        env = self.spec.environment(seat, ports) | {
            "TMPDIR": str(self.folder),  # TensorFlow leaves a file for every function it traces
            "OMP_NUM_THREADS": str(self._threads()),
            "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
        }
        if self.spec.device == "cpu":
            env["CUDA_VISIBLE_DEVICES"] = ""
        return {
            "files": str(self.folder / f"rank{seat.rank}"),
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
        from lablib.machine import gpus

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
            messages = self.readers[rank].messages()
        except ValueError as error:
            fate.error, fate.text = "ValueError", str(error)
            return
        for message in messages:
            kind = message.pop("kind")
            if kind == "value":
                self.values[rank], fate.returned = message["value"], True
            elif kind == "record":
                self.records[rank] = message
            elif kind == "error":
                fate.error, fate.text = message["type"], message["text"]
                fate.frames, fate.echo = message["frames"], message["echo"]
                fate.at_s = message["at_s"]

    def _death(self, message):
        rank = message["rank"]
        self._listen(rank)  # its last words come before its death
        fate = self.fates[rank]
        if not fate.error and rank not in self.records:
            fate.code, fate.at_s, fate.returned = message["exit"], message["at_s"], False

    def _fail(self, selector):
        until_s = time.monotonic() + _GRACE_S
        while time.monotonic() < until_s and not all(fate.failed for fate in self.fates):
            for key, _ in selector.select(_POLL_S):
                self._hear(selector, key)
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
            self._hang(boards, f"The ranks did not finish within {self.timeout_s:g} s.")
        if not failures.deadlock(boards):
            self.suspected_s = now_s
        elif now_s - self.suspected_s > _SUSPECT_S:
            self._hang(boards, "The ranks wait for one another: none can ever go on.")

    def _hang(self, boards, why):
        self._ask_for_stacks()
        stacks = self._stacks()
        self._close()
        raise failures.cluster_hangs(boards, stacks, why, keep_logs(self.folder, self.spec.ranks))

    def _ask_for_stacks(self):
        """Where the ranks are, by their own fault handlers: also of a rank deep in C++."""
        wire.send(self.channel, {"op": "signal", "number": int(signal.SIGUSR1)})
        until_s = time.monotonic() + _STACKS_WITHIN_S
        while time.monotonic() < until_s and not all(map(_written, self._files("stack"))):
            time.sleep(_POLL_S)

    def _stacks(self):
        return [path.read_text() if _written(path) else "" for path in self._files("stack")]

    def _boards(self):
        return [Board.read(path) for path in self._files("board")]

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


def _pickled(function):
    import cloudpickle

    if not callable(function):
        raise LabError(
            "cluster.run needs a function.",
            saw=repr(function),
            do="define `def work(me): ...` and write cluster.run(work)",
        )
    try:
        return cloudpickle.dumps(function)
    except Exception as error:
        code = getattr(function, "__code__", None)
        line = code and failures.place(f"{code.co_filename}:{code.co_firstlineno}")
        raise LabError(
            f"The function {getattr(function, '__name__', function)!r} cannot travel to the ranks.",
            saw=f"{type(error).__name__}: {error}" + (f" ({line})" if line else ""),
            do="make files, locks and connections inside the function, not outside it",
        ) from None


def _cells():
    """The text of notebook cells that ran: they are in no file that a rank could read."""
    return {
        name: "".join(entry[2])
        for name, entry in list(linecache.cache.items())
        if len(entry) == 4 and entry[1] is None and "ipykernel" in name
    }


def _written(path):
    return path.exists() and path.stat().st_size > 0

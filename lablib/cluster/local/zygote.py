"""The zygote: a process that has imported the framework once and forks ranks from itself.

It stays single-threaded, so that forking it is safe. It adopts processes that its ranks leave
behind, so that it can end them. It watches the notebook's kernel, so that no process outlives the
kernel. It signals only its own descendants. `lablib.cluster.local.launch` starts it as

  python -P processes.py lablib.cluster.local.zygote FRAMEWORK START FOLDER SOCKET KERNEL_PID

where SOCKET is the number of a descriptor.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from lablib import frameworks
from lablib.cluster.engine import messages, wire
from lablib.cluster.local import import_watcher, private_network
from lablib.cluster.local.ended_children import ended_children
from lablib.computer import processes
from lablib.computer.orphans import adopt_orphans
from lablib.frameworks.framework import Framework

_SWEEPS = 50
_MOST_FILES = 8  # at most this many files come with one message
_IDLE_S = 0.3


class RunProcesses:
    """The rank processes of one run, and the kernel's end of that run."""

    def __init__(self, channel: socket.socket):
        self.channel = channel
        self.alive = {}
        self.sessions = set()
        self.listening: socket.socket | None = None

    def tell(self, message) -> None:
        with contextlib.suppress(OSError):  # the kernel has already closed this run
            wire.send(self.channel, message)

    def signal(self, number) -> None:
        # These are not waited for yet, so their numbers cannot belong to other processes.
        for pid in self.alive:
            os.kill(pid, number)


class Zygote:
    """Serve runs until the kernel has ended.

    start    "fork", or "spawn" if forking is not safe: slower, with the same behaviour
    control  the socket on which the kernel asks for runs; it is closed when the kernel ends
    become   a function that turns a forked process into the rank of its job; never returns
    """

    def __init__(self, framework: Framework, start: str, control: socket.socket):
        self.framework = framework
        self.start = start
        self.control = control
        self.become: Callable[[messages.RankJob, list[int]], None] = live
        self.runs: dict[int, RunProcesses] = {}
        self.to_import = list(framework.later_imports) if start == "fork" else []
        self.idle_s = _IDLE_S
        self.next_port = 20000
        self.isolated = False
        self.selector = selectors.DefaultSelector()
        self.wakeup, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self.selector.register(self.wakeup, selectors.EVENT_READ)
        self.selector.register(control, selectors.EVENT_READ)
        self.kernel = _watch(os.getppid())
        if self.kernel is not None:
            self.selector.register(self.kernel, selectors.EVENT_READ)

    def serve(self) -> None:
        """Answer the kernel until it has ended, then end everything that is left."""
        try:
            while self._turn():
                pass
        finally:
            for run in list(self.runs.values()):
                self._close(run)

    def _turn(self):
        may_import = self.to_import and not self.runs
        happened = self.selector.select(self.idle_s if may_import else None)
        if not happened:
            self._import_next()
        for key, _ in happened:
            if key.fileobj == self.wakeup:
                os.read(self.wakeup, 1 << 12)
                self._reap()
            elif key.fileobj == self.kernel:
                return False
            elif key.fileobj is self.control:
                if not self._obey():
                    return False
            elif key.fd in self.runs:
                self._answer(self.runs[key.fd])
        return True

    def _import_next(self):
        importlib.import_module(self.to_import.pop(0))
        share_what_is_there()

    def _obey(self):
        message, fds = wire.receive(self.control, max_fds=1)
        if message is None:
            return False
        if message["op"] == "import":
            while self.to_import:
                self._import_next()
            return True
        self.open_run(socket.socket(fileno=fds[0]))
        return True

    def open_run(self, channel: socket.socket) -> None:
        """Serve a run of the kernel, which has the other end of this channel."""
        self.runs[channel.fileno()] = RunProcesses(channel)
        self.selector.register(channel, selectors.EVENT_READ)

    def _answer(self, run):
        try:
            message, fds = wire.receive(run.channel, max_fds=_MOST_FILES)
        except (OSError, EOFError):
            message, fds = None, []
        if message is None or message["op"] == "close":
            self._close(run)
        elif message["op"] == "rank":
            self._start_rank(run, messages.read(message["job"], messages.RankJob), fds)
        elif message["op"] == "ports":
            run.tell({"ports": self._ports(run, message["count"])})
        elif message["op"] == "signal":
            run.signal(message["number"])

    def _start_rank(self, run, job, fds):
        job.parent = os.getpid()
        if run.listening and job.rank == 0:
            fds.append(run.listening.detach())
            job.listening, run.listening = fds[-1], None
        pid = self._fork(job, fds) if self.start == "fork" else self._spawn(job, fds)
        run.alive[pid] = job.rank
        run.sessions.add(pid)
        for fd in fds:
            os.close(fd)
        run.tell({"pid": pid})

    def _fork(self, job, fds):
        pid = os.fork()
        if pid:
            return pid
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        for run in self.runs.values():
            run.channel.close()
            if run.listening:
                run.listening.close()
        self.control.close()
        self.selector.close()
        self.become(job, fds)

    def _spawn(self, job, fds):
        command = processes.command("lablib.cluster.local.zygote", "rank", *map(str, fds))
        child = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.PIPE, cwd=job.cwd)
        child.stdin.write(wire.pack(job))
        child.stdin.close()
        child.returncode = 0  # this process waits for all its children elsewhere
        return child.pid

    def _ports(self, run, count):
        """Return the ports of the ranks. A common port belongs to a socket that already listens."""
        if not self.framework.one_port:
            return [self._port() for _ in range(count)]
        run.listening = socket.create_server(("127.0.0.1", 0), backlog=count + 16)
        return [run.listening.getsockname()[1]] * count

    def _port(self):
        if not self.isolated:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                return probe.getsockname()[1]
        # On this network there are no other programs. Each number is new and below those that the
        # system gives to outgoing connections, so it cannot collide.
        self.next_port = 20000 + (self.next_port - 20000 + 1) % 10000
        return self.next_port

    def _reap(self):
        for pid, code in ended_children():
            for run in self.runs.values():
                if pid in run.alive:
                    rank = run.alive.pop(pid)
                    run.tell({"exit": code, "rank": rank, "at_s": time.monotonic()})

    def _close(self, run):
        """End all remaining processes of a run, including grandchildren, and report it."""
        self.idle_s = 0
        self.runs.pop(run.channel.fileno(), None)
        for _ in range(_SWEEPS):
            run.signal(signal.SIGKILL)
            orphans = self._orphans(run)
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
            if not run.alive and not orphans:
                break
            self._wait_for_deaths(run, orphans)
        self.selector.unregister(run.channel)
        if run.listening:
            run.listening.close()
        run.tell({"closed": True})
        run.channel.close()

    def _wait_for_deaths(self, run, orphans):
        for pid in [*run.alive, *orphans]:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            run.alive.pop(pid, None)

    def _orphans(self, run):
        """Return children that are not ranks: a rank of this or of an earlier run left them."""
        ranks = {pid for other in self.runs.values() for pid in other.alive} | set(run.alive)
        orphans = [pid for pid in _children() if pid not in ranks]
        if not self.runs:
            return orphans
        return [pid for pid in orphans if _session(pid) in run.sessions]


def _watch(pid):
    """Return a descriptor that shows when the process ends.

    Its socket would not show this, because forked processes have copies of it.
    """
    return os.pidfd_open(pid) if pid and hasattr(os, "pidfd_open") else None


def live(job: messages.RankJob, fds: list[int]) -> None:
    """Become the rank of this job. Never returns."""
    from lablib.cluster.local import rank

    try:
        rank.live(job, socket.socket(fileno=fds[0]))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(70)


def _children():
    import psutil

    return [child.pid for child in psutil.Process().children()]


def _session(pid):
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _prepare(framework, start):
    """Prepare what ranks share: the framework, and a private network for those that need it.

    Returns why there is no private network, or "" if there is one or none is needed.
    """
    why = private_network.enter() if framework.own_network else ""
    if start == "fork":
        import_first(framework)
    share_what_is_there()
    return why


def import_first(framework: Framework) -> None:
    """Import the modules that every rank needs before its first line."""
    ours = "lablib.cluster.local.rank", "threadpoolctl", "cloudpickle"
    for module in (*framework.first_imports, *ours):
        importlib.import_module(module)


def share_what_is_there() -> None:
    """Keep the garbage collector off the pages that ranks share: its marks would copy each page."""
    gc.collect()
    gc.freeze()


def main(arguments: list[str]) -> None:
    if arguments[0] == "rank":
        job = messages.read(wire.unpack(sys.stdin.buffer.read()), messages.RankJob)
        live(job, list(map(int, arguments[1:])))
    name, start, folder, descriptor, kernel = arguments
    framework = frameworks.get(name)
    adopt_orphans()
    control = socket.socket(fileno=int(descriptor))
    zygote = Zygote(framework, start, control)
    try:
        with import_watcher.ends_with(int(kernel), folder):
            why_shared = _prepare(framework, start)
        zygote.isolated = framework.own_network and not why_shared
        wire.send(control, {"ready": os.getpid(), "shared_network": why_shared})
        zygote.serve()
    except BaseException as error:
        wire.send(control, {"failed": f"{type(error).__name__}: {error}"})
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)

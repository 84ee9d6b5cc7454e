"""The box's own process: it has imported the framework, forks rank sets, watches and ends them.

It runs in the box and knows nothing that a learner must not know: no cases, no answers. Its reports
to the grader contain only what it has observed from outside the set. It is started by
`lablib.box.box` as

  python -P processes.py lablib.box.keeper FRAMEWORK USER SOCKET_DESCRIPTOR

If it runs as root, it becomes the user with the number USER, which nobody else has.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import socket

from lablib import frameworks
from lablib.box import namespaces, rank_set
from lablib.box.limits import Limits
from lablib.box.resource_watch import Watch
from lablib.cluster.engine import wire
from lablib.cluster.local.ended_children import ended_children
from lablib.cluster.local.zygote import import_first, share_what_is_there
from lablib.computer.orphans import adopt_orphans
from lablib.frameworks.framework import Framework

_LOOK_EVERY_S = 0.05
_IDLE_S = 0.3


class Keeper:
    """Serve one rank set after another until the grader has ended.

    framework   None: the sets only test whether their limits hold
    control     the socket for the grader's questions and the answers; it is closed when the grader
                ends
    """

    def __init__(self, framework: Framework | None, control: socket.socket):
        self.framework, self.control = framework, control
        self.pid: int | None = None  # the number of the set's first process; None without a set
        self.watch: Watch | None = None
        self.leash: socket.socket | None = None
        self.apart = False  # True: ranks of the set may still send folders
        self.to_import = list(framework.later_imports) if framework else []

    def serve(self) -> None:
        while self._turn():
            self._reap()

    def _turn(self):
        wait_s = _LOOK_EVERY_S if self.watch else _IDLE_S if self.to_import else None
        heard = [self.control, self.leash] if self.apart else [self.control]
        asked, _, _ = select.select(heard, [], [], wait_s)
        if self.control in asked:
            return self._obey()
        if asked:
            self._take_folders()
        if self.watch:
            self._look()
        elif self.to_import:
            self._import_next()
        return True

    def _import_next(self):
        importlib.import_module(self.to_import.pop(0))
        share_what_is_there()

    def _obey(self):
        try:
            message, fds = wire.receive(self.control, max_fds=1)
        except (OSError, EOFError):  # the grader ended without reading an answer
            return False
        if message is None:
            return False
        if message["op"] == "run":
            answer = self._start(socket.socket(fileno=fds[0]), Limits(**message["limits"]))
        elif message["op"] == "end":
            answer = self._end()
        else:
            while self.to_import:
                self._import_next()
            return True
        try:
            wire.send(self.control, answer)
        except OSError:
            return False  # the grader has ended, or was interrupted and does not wait for an answer
        return True

    def _start(self, channel, limits):
        self.leash, theirs = socket.socketpair()
        try:
            self.pid = rank_set.start(self.framework, channel, theirs, limits)
        except OSError as error:
            return {"failed": str(error)}
        finally:
            channel.close(), theirs.close()
        try:
            said, folders = wire.receive(self.leash, max_fds=2)
        except (OSError, EOFError):
            said = None
        if said is None or "failed" in said:
            self._end()
            return {"failed": (said or {}).get("failed", "the set's first process ended")}
        self.watch = Watch(self.pid, limits, folders)
        self.apart = limits.apart
        return {"started": self.pid}

    def _take_folders(self):
        """Receive the folders of a rank that has its own; they count as the set's."""
        said, folders, _, _ = socket.recv_fds(self.leash, 1, len(namespaces.FURNISHED))
        self.watch.folders += folders
        self.apart = bool(said)  # b"": the set has ended

    def _look(self):
        # Tests of limits must reach the limits themselves, so do not end them early.
        if self.pid and self.framework and self.watch.look():
            self._kill()

    def _kill(self):
        if self.pid:
            # It was not waited for, so no other process can have its number.
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)  # returns when all processes of the set have ended
            self.pid = None

    def _end(self):
        """End the set; return what was observed of it."""
        if self.watch and self.pid:
            self.watch.glance()
        self._kill()
        seen = self.watch.seen() if self.watch else {}
        self.leash.close()
        if self.watch:
            self.watch.close()
        self.watch = None
        self.leash = None
        self.apart = False
        return {"ended": seen}

    def _reap(self):
        for pid, code in ended_children():
            if pid == self.pid:
                self.pid = None
                if self.watch:
                    self.watch.first_process_ended(code)


def main(arguments: list[str]) -> None:
    name, user, descriptor = arguments
    framework = None if name == rank_set.NO_FRAMEWORK else frameworks.get(name)
    control = socket.socket(fileno=int(descriptor))
    try:
        if os.getuid() == 0:
            # Parts of bubblewrap's /proc are covered, and then no set could mount its own.
            namespaces.mount("proc", "/proc")
            namespaces.become(int(user))
        adopt_orphans()
        if framework:
            import_first(framework)
        share_what_is_there()
        wire.send(control, {"ready": os.getpid(), "shared_network": ""})
        Keeper(framework, control).serve()
    except BaseException as error:
        wire.send(control, {"failed": f"{type(error).__name__}: {error}"})
        raise

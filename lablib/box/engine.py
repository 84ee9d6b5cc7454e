"""The box's engine: the keeper, a process in the box that forks a rank set for each run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from dataclasses import asdict

from lablib.box import bubblewrap
from lablib.box.boxed_ranks import BoxedRanks
from lablib.box.contents import contents, in_the_box
from lablib.box.limits import Limits
from lablib.cluster.engine import Work, wire
from lablib.cluster.local.framework_process import FrameworkProcess
from lablib.cluster.spec import Spec
from lablib.computer import processes
from lablib.computer.facts import find_command
from lablib.errors import LabError

# These are above the numbers that systems give to users and containers (man 5 subuid). With the
# process's own number added, each box is a separate user, whose processes are counted separately.
_FIRST_USER = 0x70000000
_ANSWERS_WITHIN_S = 60


class BoxEngine:
    """Implements `Engine` with ranks in the box, from the view of the grader.

    framework   "torch", "tensorflow", or `rank_set.NO_FRAMEWORK` to test the limits
    tier        1: bubblewrap; 2: Linux namespaces by the kit's own system calls
    limits      the limits of the next rank set
    """

    def __init__(self, framework: str, tier: int, limits: Limits):
        self.framework = framework
        self.tier = tier
        self.limits = limits
        self._keeper = FrameworkProcess(framework, self._started)
        self.wait_ready = self._keeper.wait_ready
        self.usable = self._keeper.usable
        self.close = self._keeper.close

    def start(self, spec: Spec, work: Work, own: list | None) -> BoxedRanks:
        """Like `Engine.start`.

        Raises Ended if the ranks end during the start because of their own actions.
        """
        self.wait_ready()
        return BoxedRanks(self, spec, work, own)

    def open_run(self) -> socket.socket:
        """Return a socket to a new rank set."""
        channel, theirs = socket.socketpair()
        with theirs:
            answer = self._asked({"op": "run", "limits": asdict(self.limits)}, theirs.fileno())
        if "failed" in answer:
            channel.close()
            raise self._broken(answer["failed"])
        return channel

    def end_run(self) -> dict:
        """End the rank set; return what the keeper observed of it."""
        return self._asked({"op": "end"})["ended"]

    def limits_held(self) -> dict[str, bool]:
        """Return for each limit, by name, whether it held in a rank set that tried to exceed it."""
        ready = self._asked(None)
        if "failed" in ready:
            raise self._broken(ready["failed"])
        with self.open_run() as channel:
            channel.settimeout(_ANSWERS_WITHIN_S)
            answer, _ = wire.receive(channel)
        if answer is None:
            raise LabError("no set of ranks", saw="it ended without a message", do="see doctor")
        return answer["held"]

    def _started(self, folder, descriptor, options):
        user = _FIRST_USER + os.getpid() if os.getuid() == 0 else os.getuid()
        etc = folder / "etc"
        etc.mkdir(mode=0o755)
        inside = contents(etc, user)
        self.path = inside.path
        arguments = [self.framework, str(user), str(descriptor)]
        where = {"python": inside.python, "file": in_the_box(processes.FILE)}
        command = processes.command("lablib.box.keeper", *arguments, **where)
        if self.tier == 1:
            command = bubblewrap.arguments(find_command("bubblewrap"), inside, command)
        else:
            command = _by_namespaces(folder, inside, command)
        return subprocess.Popen(command, env=inside.environment, cwd="/", **options)

    def _asked(self, message, *fds):
        """Return the keeper's answer to a message; without a message, its first message.

        A keeper that does not answer is ended, and the next run starts another one.
        """
        control = self._keeper.control
        control.settimeout(_ANSWERS_WITHIN_S)
        try:
            if message is not None:
                wire.send(control, message, fds)
            answer, _ = wire.receive(control)
            if answer is not None:
                return answer
            self._abandon()
        except (OSError, EOFError):
            self._abandon()
        except BaseException:  # after an interrupt, the next question would get this answer
            self._abandon()
            raise
        finally:
            control.settimeout(None)
        raise self._broken(self._keeper.last_words() or "its process ended without a message")

    def _abandon(self):
        self._keeper.process.kill()
        self._keeper.process.wait()  # otherwise it might still seem usable

    def _broken(self, saw):
        return LabError(
            "The sandbox for grading does not work.",
            saw=saw,
            do="run `python -m lablib doctor`, which tests the sandbox",
        )


def _by_namespaces(folder, inside, command):
    root = folder / "root"
    root.mkdir()
    shown = json.dumps({"shown": inside.shown, "links": inside.links})
    return processes.command("lablib.box.namespace_box", str(root), shown, *command)

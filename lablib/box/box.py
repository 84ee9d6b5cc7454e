"""The box: where learners' answers run when an instructor grades.

One box for each grading worker. It has imported the framework; every `run` is a rank set forked in
it, in namespaces of its own, which nothing outlives and which sees nothing but the interpreter and
the library. The function comes from the grader and is trusted; what it runs, the learner's source,
is not, and neither is anything that comes back.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from lablib import frameworks
from lablib.box import bubblewrap
from lablib.box.bounded_calls import bounded
from lablib.box.boxed_execution import BoxedExecution
from lablib.box.contents import contents, in_the_box
from lablib.box.limits import Limits
from lablib.box.rank_set import NO_FRAMEWORK
from lablib.box.run_ending import Ended
from lablib.cluster.engine import wire
from lablib.cluster.local.launch import ZygoteProcess
from lablib.cluster.run import Run
from lablib.cluster.spec import Spec
from lablib.computer import processes
from lablib.computer.facts import Finding, find_command, install_command
from lablib.errors import LabError
from lablib.hardware import catalog

# Above the numbers that systems give to users and containers (man 5 subuid); with the process's
# own number each box is a user whom nobody else is, whose processes are counted apart.
_FIRST_USER = 0x70000000
_ANSWERS_WITHIN_S = 60
_TIERS = {1: "bubblewrap", 2: "Linux namespaces"}
_TRIED = Limits(
    cpu_s=1, process_bytes=256 << 20, processes=40, open_files=64, scratch_bytes=8 << 20,
    shared_bytes=8 << 20, file_bytes=1 << 20,
)  # fmt: skip


@dataclass(frozen=True)
class BoxedRun:
    """What came back from one rank set.

    status          "ok", or why there are no values: "error", "crash", "timeout", "hang", "cpu",
                    "oom", "processes", "disk", "output", "forged"
    reason          that in a line, without a word of the learner's
    detail          the learner's words, to be escaped: they may hold a case's inputs
    values          by rank; {} unless the status is "ok"
    run             its program and trace, as the ranks told them; None unless "ok"
    logs            the end of what each rank printed, to be escaped
    loopback_bytes  that the set's own network carried, headers included, seen from outside the set
    messages        (source, destination, bytes) of each send, as the relay passed them on; None
                    without a relay
    put_in          (rank, name, bytes) of each send and collective, as the relay saw them; None
                    without a relay
    took_s          from the start of the set to its end
    """

    status: str
    reason: str = ""
    detail: str = ""
    values: dict[int, object] = field(default_factory=dict)
    run: Run | None = None
    logs: list[str] = field(default_factory=list)
    loopback_bytes: int = 0
    messages: list[tuple[int, int, int]] | None = None
    put_in: list[tuple[int, str, int]] | None = None
    took_s: float = 0.0


class Box:
    """Containment for the answers of learners.

    framework   "torch" or "tensorflow"
    limits      what each rank set may use
    tier        1: bubblewrap; 2: Linux namespaces by system calls of our own; the first that
                works here when not given

    Raises LabError where this computer can contain nothing.
    """

    def __init__(self, framework: str, *, limits: Limits | None = None, tier: int | None = None):
        self.framework, self.limits = framework, limits or Limits()
        self.tier = tier or containment()[0]
        self._process = _Boxed(framework, self.tier)
        self._process.wait_ready()

    def run(
        self,
        function: Callable,
        ranks: int | None = None,
        *,
        own: list | None = None,
        relay: bool = False,
        limits: Limits | None = None,
        hardware: object = None,
        **asked,
    ) -> BoxedRun:
        """Run `function(me)` on each of `ranks` ranks; `asked` is as for `lab.Cluster`.

        own      by rank, what only this rank gets: `function(me, own[rank])`
        relay    the ranks have no common network: sends, receives and collectives go through a
                 relay, which counts them; torch only
        limits   this run's own; the box's when not given

        Raises nothing for what the function does, and LabError when the box itself fails.
        """
        limits = limits or self.limits
        hardware = None if hardware is None else catalog.get(hardware)
        per_node = hardware and hardware.per_node
        spec = Spec.of(ranks, framework=self.framework, per_node=per_node, **asked)
        threads = frameworks.get(self.framework).threads_of_a_rank(os.cpu_count() or 1)
        limits = replace(limits, of_framework=threads * spec.ranks, apart=relay)
        if not self._process.usable():
            self._process.close()
            self._process = _Boxed(self.framework, self.tier)
        self._process.wait_ready()
        self._process.limits = limits
        start_s = time.monotonic()
        execution = BoxedExecution(spec, function, limits, self._process, own, hardware)
        try:
            outcome = self._outcome(execution)
            logs = execution.logs()
            messages = execution.relay.messages if relay else None
            put_in = execution.relay.put_in if relay else None
        finally:
            execution.forget()
        took_s = time.monotonic() - start_s
        loopback_bytes = execution.seen.get("loopback_bytes", 0)
        seen = {"loopback_bytes": loopback_bytes, "messages": messages, "put_in": put_in}
        return replace(outcome, logs=logs, took_s=took_s, **seen)

    def _outcome(self, execution):
        try:
            execution.run()
        except Ended as end:
            return BoxedRun(end.status, end.reason, end.detail)
        try:
            run = _run(execution)
            with bounded():
                run.program, run.trace  # noqa: B018 - reads the records, which may be forged
        except Exception as error:  # whatever a forged record makes of its reader
            return BoxedRun("forged", "a rank's record cannot be read", repr(error)[:500])
        return BoxedRun("ok", values=dict(sorted(execution.values.items())), run=run)

    def close(self) -> None:
        """End it and everything in it. Twice is harmless."""
        self._process.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _Boxed(ZygoteProcess):
    """The keeper, a zygote in the box, seen from the grader."""

    limits = Limits()

    def __init__(self, framework: str, tier: int):
        self.tier = tier
        super().__init__(framework)

    def _started(self, theirs):
        self.user = _FIRST_USER + os.getpid() if os.getuid() == 0 else os.getuid()
        etc = self.folder / "etc"
        etc.mkdir(mode=0o755)
        self.inside = contents(etc, self.user)
        self.path = self.inside.path
        arguments = [self.framework, str(self.user), str(theirs.fileno())]
        where = {"python": self.inside.python, "file": in_the_box(processes.FILE)}
        command = processes.command("lablib.box.keeper", *arguments, **where)
        if self.tier == 1:
            command = bubblewrap.arguments(find_command("bubblewrap"), self.inside, command)
        else:
            command = self._by_namespaces(command)
        with open(self.folder / "zygote.log", "wb") as log:
            return subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()], env=self.inside.environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            )  # fmt: skip

    def changed_environment(self):
        return {}  # nothing of the grader's environment gets into the box

    def _by_namespaces(self, command):
        root = self.folder / "root"
        root.mkdir()
        shown = json.dumps({"shown": self.inside.shown, "links": self.inside.links})
        return processes.command("lablib.box.namespace_box", str(root), shown, *command)

    def open_run(self) -> socket.socket:
        """A channel to a new rank set."""
        channel, theirs = socket.socketpair()
        try:
            answer = self._asked({"op": "run", "limits": asdict(self.limits)}, theirs.fileno())
        finally:
            theirs.close()
        if "failed" in answer:
            channel.close()
            raise self._broken(answer["failed"])
        return channel

    def end_run(self) -> dict:
        """End the rank set; what the keeper saw of it."""
        return self._asked({"op": "end"})["ended"]

    def _asked(self, message, *fds):
        """The keeper's answer. Without one it is ended: the next run starts another."""
        self.control.settimeout(_ANSWERS_WITHIN_S)
        try:
            wire.send(self.control, message, fds=fds)
            answer, _ = wire.receive(self.control)
            if answer is not None:
                return answer
            self._abandon()
        except (OSError, EOFError):
            self._abandon()
        except BaseException:  # an interrupt: the answer would be taken for that to the next
            self._abandon()
            raise
        finally:
            self.control.settimeout(None)
        raise self._broken(self._last_words() or "its process ended without a word")

    def _abandon(self):
        self.process.kill()
        self.process.wait()  # so that it is not thought usable

    def _first_message(self):
        if self.framework != NO_FRAMEWORK:
            return super()._first_message()
        self.control.settimeout(_ANSWERS_WITHIN_S)
        try:
            return wire.receive(self.control)[0]
        except (OSError, EOFError):
            return None

    def _failed(self, answer):
        if self.framework != NO_FRAMEWORK:
            return super()._failed(answer)
        told = (answer or {}).get("failed") or self._last_words()
        return self._broken(told or "its process ended without a word")

    def _broken(self, saw):
        return LabError(
            "The box cannot run anything.",
            saw=saw,
            do="run `python -m lablib doctor`: it shows what this computer can contain",
        )


def _run(execution):
    ranks = range(execution.spec.ranks)
    values = [execution.values.get(rank) for rank in ranks]
    records = [execution.records[rank] for rank in ranks]
    return Run(execution.spec, values, execution.logs(), records, execution.hardware)


def containment() -> tuple[int, str]:
    """The first tier that works on this computer, and its name. Raises LabError where none does."""
    failures = []
    for tier, name in _TIERS.items():
        try:
            held = limits_held(tier)
        except (LabError, OSError) as error:
            failures.append(f"{name}: {error}")
            continue
        broken = [limit for limit, holds in held.items() if not holds]
        if not broken:
            return tier, name
        failures.append(f"{name} does not hold: {', '.join(broken)}")
    raise LabError(
        "This computer can contain nothing: what a learner hands in could do whatever you can.",
        saw="; ".join(failures),
        do=f"{install_command('bubblewrap')}, or allow unprivileged user namespaces",
    )


@functools.cache
def limits_held(tier: int) -> dict[str, bool]:
    """Each limit by its name, and whether it held when a process of a rank set tried to pass it.

    Takes about a second, once. Raises LabError where there is no such tier here.
    """
    if tier == 1 and not find_command("bubblewrap"):
        raise LabError("no bubblewrap here", saw="no bwrap", do=install_command("bubblewrap"))
    box = _Boxed(NO_FRAMEWORK, tier)
    box.limits = _TRIED
    try:
        box.wait_ready()
        with box.open_run() as channel:
            channel.settimeout(_ANSWERS_WITHIN_S)
            said, _ = wire.receive(channel)
        if said is None:
            raise LabError("no set of ranks", saw="it ended without a word", do="see doctor")
        return said["held"]
    finally:
        box.close()


def probes() -> list[Finding]:
    """For `doctor`: which containment there is, and for each limit whether it holds."""
    try:
        tier, name = containment()
    except LabError as error:
        return [Finding("containment", "missing", error.saw, error.do), *_limits_tried()]
    state = "ok" if tier == 1 else "limited"
    cure = "" if tier == 1 else install_command("bubblewrap")
    row = Finding("containment", state, f"tier {tier}, {name}", cure)
    return [row, *_limits_of(limits_held(tier))]


def _limits_tried():
    """Those of the last tier that could be started, where none holds them all."""
    for tier in sorted(_TIERS, reverse=True):
        with contextlib.suppress(LabError, OSError):
            return _limits_of(limits_held(tier))
    return []


def _limits_of(held):
    cure = "grade on another computer: here `grade` refuses to run"
    return [
        Finding(f"limit: {limit}", *(("ok", "holds") if holds else ("missing", "passed", cure)))
        for limit, holds in held.items()
    ]

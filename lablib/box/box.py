"""The box: the sandbox in which learners' answers run when an instructor grades.

Each grading worker has one box. It has imported the framework. Every `run` forks a set of ranks in
the box, in its own namespaces. The set sees only the interpreter and the library, and none of its
processes outlives the run. The function comes from the grader and is trusted. The learner's code
that it runs is not trusted, and nothing that comes back is trusted.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lablib import frameworks
from lablib.box import run_ending
from lablib.box.bounded_calls import bounded
from lablib.box.engine import BoxEngine
from lablib.box.limits import Limits
from lablib.box.rank_output import Printed
from lablib.box.rank_set import NO_FRAMEWORK
from lablib.box.run_ending import Ended
from lablib.cluster.definitions import payload
from lablib.cluster.engine import Work
from lablib.cluster.failures import Failure, Fate, Hang
from lablib.cluster.run import Run
from lablib.cluster.spec import Spec
from lablib.cluster.supervise import supervise
from lablib.computer.facts import Finding, find_command, install_command
from lablib.errors import LabError
from lablib.hardware import catalog

_TIERS = {1: "bubblewrap", 2: "Linux namespaces"}
_TRIED = Limits(
    cpu_s=1, process_bytes=256 << 20, processes=40, open_files=64, scratch_bytes=8 << 20,
    shared_bytes=8 << 20, file_bytes=1 << 20,
)  # fmt: skip


@dataclass(frozen=True)
class BoxedRun:
    """The result of one rank set.

    status          "ok", or why there are no values: "error", "crash", "timeout", "hang", "cpu",
                    "oom", "processes", "disk", "output", "forged"
    reason          the same in one line, without any text from the learner
    detail          text from the learner, to be escaped; it may contain a case's inputs
    values          by rank; {} unless the status is "ok"
    run             its program and trace, as the ranks recorded them; None unless "ok"
    logs            the end of what each rank printed, to be escaped
    loopback_bytes  bytes on the set's own network, with headers, counted outside the set
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
    """A sandbox for learners' answers.

    framework   "torch" or "tensorflow"
    limits      the limits of each rank set
    tier        1: bubblewrap; 2: Linux namespaces, which the kit sets up itself; default: the first
                that works on this computer

    Raises LabError if no sandbox works on this computer.
    """

    def __init__(self, framework: str, *, limits: Limits | None = None, tier: int | None = None):
        self.framework, self.limits = framework, limits or Limits()
        self.tier = tier or containment()[0]
        self._engine = BoxEngine(framework, self.tier, self.limits)
        self._engine.wait_ready()

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
        """Run `function(me)` on each of `ranks` ranks; `asked` has the arguments of `lab.Cluster`.

        own      by rank, data that only this rank gets: `function(me, own[rank])`
        relay    True: the ranks have no common network; sends, receives and collectives go through
                 a relay, which counts them; torch only
        limits   the limits of this run; None: the box's

        Errors of the function are reported in the result, not raised. Raises LabError if the box
        itself fails.
        """
        limits = limits or self.limits
        hardware = None if hardware is None else catalog.get(hardware)
        per_node = hardware and hardware.per_node
        spec = Spec.of(ranks, framework=self.framework, per_node=per_node, **asked)
        threads = frameworks.get(self.framework).threads_of_a_rank(os.cpu_count() or 1)
        limits = replace(limits, of_framework=threads * spec.ranks, apart=relay)
        if not self._engine.usable():
            self._engine.close()
            self._engine = BoxEngine(self.framework, self.tier, limits)
        self._engine.limits = limits
        self._engine.wait_ready()
        start_s = time.monotonic()
        ended = self._ended(spec, Work(payload(function), hardware, limits.timeout_s), own)
        return replace(ended, took_s=time.monotonic() - start_s)

    def _ended(self, spec, work, own):
        try:
            ranks = self._engine.start(spec, work, own)
        except Ended as end:
            return BoxedRun(end.status, end.reason, end.detail)
        try:
            ended = self._followed(ranks, spec, work)
            return replace(
                ended, logs=self._logs(ranks, spec), messages=ranks.relay and ranks.relay.messages,
                put_in=ranks.relay and ranks.relay.put_in,
                loopback_bytes=ranks.close().get("loopback_bytes", 0),
            )  # fmt: skip
        finally:
            ranks.forget()

    def _followed(self, ranks, spec, work):
        try:
            returned = self._returned(ranks, spec)
        except Ended as end:
            return BoxedRun(end.status, end.reason, end.detail)
        try:
            values = [returned.values.get(rank) for rank in range(spec.ranks)]
            records = [returned.records[rank] for rank in range(spec.ranks)]
            run = Run(spec, values, self._logs(ranks, spec), records, work.hardware)
            with bounded():
                run.program, run.trace  # noqa: B018 - reads the records, which may be forged
        except Exception as error:  # reading a forged record may raise anything
            return BoxedRun("forged", "a rank's record cannot be read", repr(error)[:500])
        return BoxedRun("ok", values=dict(sorted(returned.values.items())), run=run)

    def _returned(self, ranks, spec):
        """Return what the ranks returned. Raises Ended."""
        limits = self._engine.limits
        fates = [Fate(seat.rank) for seat in spec.seats]
        watch = _OutputLimit(ranks.printed, limits.printed_bytes)
        try:
            returned = supervise(ranks, spec, fates, limits.timeout_s, watch)
        except Hang as hang:
            raise run_ending.hangs(hang, ranks.close()) from None
        except Failure as failure:
            _check_outside(ranks)
            raise run_ending.failed(failure, ranks.close(), limits.cpu_s) from None
        _check_outside(ranks)
        return returned

    def _logs(self, ranks, spec):
        most_bytes = self._engine.limits.kept_bytes
        return [ranks.log(rank, most_bytes) for rank in range(spec.ranks)]

    def close(self) -> None:
        """End the box and all its processes. Calling it twice is harmless."""
        self._engine.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _OutputLimit:
    """An observer that shows nothing, and raises Ended if a rank has printed too much."""

    def __init__(self, printed: Printed, most_bytes: int):
        self.printed, self.most_bytes = printed, most_bytes

    def __call__(self, boards):
        if self.printed.most_bytes > self.most_bytes:
            raise Ended("output", f"a rank printed more than {self.most_bytes} bytes")

    def close(self):
        pass


def _check_outside(ranks):
    """Raise Ended if the keeper or the relay saw a reason; the ranks' reports do not count."""
    outside = ranks.close()
    if outside.get("why"):
        raise run_ending.all_at_once(outside)
    if ranks.relay and ranks.relay.forged:
        raise Ended("forged", f"rank {min(ranks.relay.forged)} sent the relay no message")


def containment() -> tuple[int, str]:
    """Return the first tier that works on this computer, and its name; raise LabError if none."""
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
        "This computer has no working sandbox, so a learner's program could do anything that you "
        "can do.",
        saw="; ".join(failures),
        do=f"{install_command('bubblewrap')}, or allow unprivileged user namespaces",
    )


@functools.cache
def limits_held(tier: int) -> dict[str, bool]:
    """Return for each limit, by name, whether it held when a process tried to exceed it.

    The first call takes about a second. Raises LabError if this tier is not available.
    """
    if tier == 1 and not find_command("bubblewrap"):
        raise LabError("no bubblewrap here", saw="no bwrap", do=install_command("bubblewrap"))
    engine = BoxEngine(NO_FRAMEWORK, tier, _TRIED)
    try:
        return engine.limits_held()
    finally:
        engine.close()


def probes() -> list[Finding]:
    """Return findings for `doctor`: the kind of sandbox, and whether each limit holds."""
    try:
        tier, name = containment()
    except LabError as error:
        return [Finding("containment", "missing", error.saw, error.do), *_limits_tried()]
    state = "ok" if tier == 1 else "limited"
    cure = "" if tier == 1 else install_command("bubblewrap")
    row = Finding("containment", state, f"tier {tier}, {name}", cure)
    return [row, *_limits_of(limits_held(tier))]


def _limits_tried():
    """Return findings for the last tier that can be started, if no tier enforces all limits."""
    for tier in sorted(_TIERS, reverse=True):
        with contextlib.suppress(LabError, OSError):
            return _limits_of(limits_held(tier))
    return []


def _limits_of(held):
    cure = "grade on another computer, because `grade` refuses to run here"
    return [
        Finding(f"limit: {limit}", *(("ok", "holds") if holds else ("missing", "passed", cure)))
        for limit, holds in held.items()
    ]

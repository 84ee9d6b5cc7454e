"""Try an answer for grading: in a sandbox, or, if the instructor wants it, without one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lablib.box.box import Box
from lablib.box.limits import Limits
from lablib.cluster.engine.messages import UNWRITTEN
from lablib.cluster.failures import DIED, ClusterHangs, RankFailed
from lablib.errors import NOT_ATTEMPTED, LabError
from lablib.teach.checks import cluster_of
from lablib.teach.exercise import Case
from lablib.teach.observation import Seen

UNSANDBOXED = "UNSANDBOXED"
_STATUS_OF_CAUSE = {DIED: "crash", UNWRITTEN: NOT_ATTEMPTED}
# After one of these, every further case would take as long again.
SLOW = ("timeout", "hang", "cpu")
_WHICH_RANK = re.compile(r"^rank \d+ of (\d+) ")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one case.

    status   "ok", or one of the sandbox's words for a failure, such as "timeout"
    reason   the same in one line, without any text from the learner
    detail   more details, with text from the learner, which may contain the inputs of the case
    """

    seen: Seen
    status: str = "ok"
    reason: str = ""
    detail: str = ""


class Boxed:
    """A sandbox for each framework, started at its first use.

    number, tier   the number and the name of the containment; see `box.containment`
    """

    def __init__(self, number: int, tier: str):
        self.number, self.tier = number, tier
        self._boxes: dict[str, Box] = {}

    def try_case(self, case: Case, function: Callable) -> Outcome:
        """Try `function` in a case; raise nothing for what it does.

        Raises LabError if the sandbox fails twice.
        """
        limits = Limits(timeout_s=case.timeout_s)
        try:
            run = self._run(case, function, limits)
        except LabError:  # a learner's code may have broken the sandbox, so try a new one
            run = self._run(case, function, limits)
        values = tuple(run.values.get(rank) for rank in range(case.size))
        problem = "" if run.status == "ok" else run.reason
        messages, relayed = (
            None if seen is None else tuple(seen) for seen in (run.messages, run.put_in)
        )
        seen = Seen(values, run.run, messages, relayed, run.loopback_bytes, problem)
        # Equal answers must get equal rows, but it is random which rank fails first.
        reason = _WHICH_RANK.sub(r"a rank of \1 ", run.reason)
        detail = "\n".join(filter(None, [run.reason, run.detail]))
        return Outcome(seen, run.status, reason, detail)

    def close(self) -> None:
        for box in self._boxes.values():
            box.close()

    def _run(self, case, function, limits):
        box = self._boxes.get(case.framework)
        if box is None:
            box = self._boxes[case.framework] = Box(case.framework, tier=self.number)
        return box.run(
            function, None if case.roles else case.ranks, own=case.given(), relay=case.relay,
            nodes=case.nodes, roles=case.roles, hardware=case.hardware, threads=case.threads,
            limits=limits,
        )  # fmt: skip


class InTheOpen:
    """Try an answer without a sandbox: it may read, write and send what the grader may."""

    tier = UNSANDBOXED

    def try_case(self, case: Case, function: Callable) -> Outcome:
        """Try `function` in a case; raise nothing for what it does."""
        try:
            run = cluster_of(case).run(function, own=case.given(), watch=_Unseen())
        except ClusterHangs as error:
            status = "timeout" if error.timed_out else "hang"
            return Outcome(Seen(problem=error.wrong), status, error.wrong, error.saw)
        except RankFailed as error:
            status = _STATUS_OF_CAUSE.get(error.cause, "error")
            reason = f"a rank of {case.size} failed"
            return Outcome(Seen(problem=reason), status, reason, error.wrong)
        return Outcome(Seen(tuple(run.values), run))

    def close(self) -> None:
        from lablib.cluster.local import launch

        launch.close_all()


class _Unseen:
    """An observer that shows nothing."""

    def __call__(self, boards):
        pass

    def close(self):
        pass

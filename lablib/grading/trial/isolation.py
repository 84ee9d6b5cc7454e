"""Where an answer is tried when it is graded: in a box, or, when told so, in the open."""

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
# After one of these, more cases would only cost as much time again.
SLOW = ("timeout", "hang", "cpu")
_WHICH_RANK = re.compile(r"^rank \d+ of (\d+) ")


@dataclass(frozen=True)
class Outcome:
    """What came of one case.

    status   "ok", or one of the box's words for what went wrong, such as "timeout"
    reason   that in a line, without a word of the learner's
    detail   in the learner's words; they may hold the inputs of the case
    """

    seen: Seen
    status: str = "ok"
    reason: str = ""
    detail: str = ""


class Boxed:
    """A box for each framework, started when it is needed first.

    number, tier   of the containment, and its name; see `box.containment`
    """

    def __init__(self, number: int, tier: str):
        self.number, self.tier = number, tier
        self._boxes: dict[str, Box] = {}

    def try_case(self, case: Case, function: Callable) -> Outcome:
        """What comes of `function` in a case; raises nothing for what it does.

        Raises LabError when the box fails twice.
        """
        limits = Limits(timeout_s=case.timeout_s)
        try:
            run = self._run(case, function, limits)
        except LabError:  # a box may be broken by what ran in it: this is a new one
            run = self._run(case, function, limits)
        values = tuple(run.values.get(rank) for rank in range(case.size))
        problem = "" if run.status == "ok" else run.reason
        messages, relayed = (
            None if seen is None else tuple(seen) for seen in (run.messages, run.put_in)
        )
        seen = Seen(values, run.run, messages, relayed, run.loopback_bytes, problem)
        # Which of several ranks failed first is chance, and equal answers get equal rows.
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
    """Nothing holds the answer back: it may read, write and send what the grader may."""

    tier = UNSANDBOXED

    def try_case(self, case: Case, function: Callable) -> Outcome:
        """What comes of `function` in a case; raises nothing for what it does."""
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
    """A watch that shows nothing."""

    def __call__(self, boards):
        pass

    def close(self):
        pass

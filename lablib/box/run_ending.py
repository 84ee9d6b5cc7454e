"""Describe how a run in the sandbox ended, in one word and one line without text of the learner.

An exception's text may contain the inputs of a hidden case, so it is stored separately, as
`detail`.
"""

from __future__ import annotations

import builtins
import signal

from lablib.cluster import failures
from lablib.cluster.engine import messages
from lablib.errors import NOT_ATTEMPTED

_OF_CAUSE = {
    messages.FORGED: ("forged", "sent a message that no rank of the kit sends"),
    messages.MEMORY: ("oom", "asked for more memory than is allowed"),
    messages.DISK: ("disk", "used up the space for files"),
    messages.UNWRITTEN: (NOT_ATTEMPTED, "has the unchanged starter of the exercise"),
}
_TOGETHER = {
    "oom": "together, the processes used more memory than is allowed",
    "processes": "it started more processes and threads than are allowed",
}


class Ended(Exception):
    """The run ended without its values.

    status   "error", "crash", "timeout", "hang", "cpu", "oom", "processes", "disk", "output",
             "forged", or NOT_ATTEMPTED
    detail   text from the learner's program: an exception's text, or which rank waits for which
    """

    def __init__(self, status: str, reason: str, detail: str = ""):
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.detail = detail


def failed(failure: failures.Failure, seen: dict, cpu_s: int) -> Ended:
    """Return the ending of a run in which a rank failed.

    seen   what the keeper observed (`resource_watch.Watch.seen`)
    cpu_s  the limit of processor seconds
    """
    fates = failure.fates
    first = failures.in_order(fates)[0]
    waits = [
        failures.waiting_line(rank, board)
        for rank, board in enumerate(failure.boards)
        if board.state and not fates[rank].failed
    ]
    status, what = _status(first, seen, cpu_s)
    detail = "\n".join([first.what[:2000], *(line[:300] for line in waits)])
    return Ended(status, f"rank {first.rank} of {len(fates)} {what}", detail)


def all_at_once(seen) -> Ended:
    """Return the ending of a run whose processes were all ended by the keeper or the system."""
    if seen.get("why"):
        return Ended(seen["why"], _TOGETHER[seen["why"]])
    return Ended("crash", "all processes ended at the same time")


def hangs(hang: failures.Hang, seen: dict) -> Ended:
    """Return the ending of a run whose ranks cannot continue, or took too long."""
    if seen.get("why"):
        return all_at_once(seen)
    waits = [
        failures.waiting_line(rank, board, stack)[:300]
        for rank, (board, stack) in enumerate(zip(hang.boards, hang.stacks))
    ]
    return Ended("timeout" if hang.timed_out else "hang", hang.why, "\n".join(waits))


def _status(fate, seen, cpu_s):
    if fate.cause in _OF_CAUSE:
        return _OF_CAUSE[fate.cause]
    if fate.code == -signal.SIGXCPU:
        return "cpu", f"used more than its {cpu_s} s of processor time"
    if not fate.cause:
        return "crash", fate.what
    if fate.error == "OSError" and seen.get("disk_full"):
        return _OF_CAUSE[messages.DISK]
    return "error", _left_or_raised(fate)


def _left_or_raised(fate):
    line = f", line {fate.frames[-1][1]}" if fate.frames else ""
    if fate.cause == messages.LEFT:
        return f"called sys.exit{line}"
    if fate.cause == messages.UNSENDABLE:
        return "returned a value that is too large or not plain data"
    kind = getattr(builtins, fate.error, None)
    known = isinstance(kind, type) and issubclass(kind, BaseException) or fate.error == "LabError"
    return f"raised {fate.error if known else 'an exception that is not built into Python'}{line}"

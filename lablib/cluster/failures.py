"""Explain failures and hangs: which rank failed, where and why, and which ranks wait for which."""

from __future__ import annotations

import linecache
import signal
from dataclasses import dataclass, field

from lablib.cluster.engine import messages
from lablib.errors import LabError
from lablib.record.board import Board
from lablib.record.learners_code import place, stack_line

DIED = "died"  # by a signal, or with an exit status
MOST_TRACEBACKS = 4
_TAIL_LINES = 5
_HEAD_LINES, _END_LINES = 4, 6  # lines of an error's text that are shown


class RankFailed(LabError):
    """A rank raised an exception, died or returned something that cannot be sent.

    rank    the first rank that failed
    cause   the reason: one of `messages.CAUSES`, DIED or FORGED
    """

    rank: int = -1
    cause: str = ""


class ClusterHangs(LabError):
    """The ranks wait for one another, or ran out of time.

    waits       a line for each rank: what it is doing
    waiting     the ranks that wait for a message
    advice      what the learner can do; `do` also contains it, with the path of the logs
    timed_out   True if the time limit passed; False if no rank could continue
    """

    waits: list[str]
    waiting: list[int]
    advice: str = ""
    timed_out: bool = False


@dataclass
class Fate:
    """How one rank ended, as far as the kernel knows.

    cause  why it failed: one of `messages.CAUSES`, or FORGED; "" if it has not failed, or has died
    echo   True: the error looks like a consequence of another rank's death
    begun  True: the learner's function has begun on it, or its server has started
    code   exit status; -9 for signal 9; None while the process runs
    """

    rank: int
    cause: str = ""
    error: str = ""
    text: str = ""
    frames: list = field(default_factory=list)
    echo: bool = False
    code: int | None = None
    at_s: float = 0.0
    begun: bool = False
    returned: bool = False

    @property
    def failed(self) -> bool:
        return bool(self.cause) or (self.code is not None and not self.returned)

    @property
    def cure(self) -> str:
        """Return what to do about it."""
        if self.cause == messages.UNSENDABLE:
            return "return numbers, text, lists, dicts, arrays or tensors, and run the cell again"
        if self.cause or self.code != -signal.SIGKILL:
            return "correct that line, then run the cell again"
        return "find out who killed it: you, a job limit, or the system because memory ran out"

    @property
    def what(self) -> str:
        """Return what happened, in words: the exception, the signal or the exit status."""
        if self.cause == messages.LEFT:
            return f"called sys.exit({self.text or 0})"
        if self.cause == messages.UNSENDABLE:
            return f"cannot return its result: {self.text}"
        if self.cause == messages.SERVER:
            return f"could not start its TensorFlow server: {self.text}"
        if self.cause:
            return f"raised {self.error}: {shortened(self.text)}"
        if self.code is not None and self.code < 0:
            return f"was killed by signal {_signal_name(-self.code)}"
        return f"ended without returning, exit status {self.code}"


class Failure(Exception):
    """At least one rank failed. These are the facts; the caller chooses the words for its reader.

    `Cluster` shows the learner's line. The box must not, because a rank there may have named any
    file as the place of its error.
    """

    def __init__(self, fates: list[Fate], boards: list[Board], stacks: list[str]):
        self.fates = fates
        self.boards = boards
        self.stacks = stacks


class Hang(Exception):
    """The ranks wait for one another, or ran out of time. `why` and `advice` are sentences."""

    def __init__(
        self, boards: list[Board], stacks: list[str], why: str, advice: str, timed_out: bool
    ):
        self.boards, self.stacks = boards, stacks
        self.why = why
        self.advice = advice
        self.timed_out = timed_out


def rank_failed(failure: Failure, logs: list[str], log_folder) -> RankFailed:
    """Return the error for a run in which ranks failed; it begins with the first failure."""
    fates = failure.fates
    boards = failure.boards
    stacks = failure.stacks
    failed = in_order(fates)
    first = failed[0]
    others = [fate for fate in failed[1:] if not fate.echo]
    saw = [where(first, boards[first.rank], stacks[first.rank])]
    saw += _too_small(first, boards[first.rank])
    saw += _others(first, others)
    echoes = {fate.rank for fate in failed[1:] if fate.echo}
    saw += _left_waiting(boards, {fate.rank for fate in fates} - {f.rank for f in failed} | echoes)
    saw += _tail(first.rank, logs[first.rank])
    error = RankFailed(
        f"rank {first.rank} of {len(fates)} {first.what}",
        saw="\n".join(filter(None, saw)) or "it printed nothing and left no traceback",
        do=f"{first.cure}; the whole log: {log_folder}",
    )
    error.rank, error.cause = first.rank, first.cause or DIED
    return error


def shortened(text: str) -> str:
    """Return the first and the last lines of an error's text.

    The reason is at one of the two ends, because TensorFlow begins with the graph's history.
    """
    lines = text.strip().splitlines()
    if len(lines) > _HEAD_LINES + _END_LINES:
        lines[_HEAD_LINES:-_END_LINES] = ["..."]
    return "\n".join(lines)


def in_order(fates: list[Fate]) -> list[Fate]:
    """Return the failed ranks in order of time; ranks that failed because of others come last."""
    return sorted((fate for fate in fates if fate.failed), key=lambda f: (f.echo, f.at_s))


def cluster_hangs(hang: Hang, log_folder) -> ClusterHangs:
    """Return the error for ranks that hang, with one line for each rank."""
    boards = list(enumerate(hang.boards))
    waits = [waiting_line(rank, board, hang.stacks[rank]) for rank, board in boards]
    more = "; if the ranks only need more time, use a larger timeout_s" if hang.timed_out else ""
    do = f"{hang.advice}{more}; logs: {log_folder}"
    error = ClusterHangs(hang.why, saw="\n".join(waits), do=do)
    error.waits = waits
    error.advice = hang.advice
    error.timed_out = hang.timed_out
    error.waiting = [rank for rank, board in boards if board.state == "waiting"]
    return error


def waiting_line(rank: int, board: Board, stack: str = "") -> str:
    """Return what one rank is doing, in words.

    >>> waiting_line(1, Board("waiting", name="recv", group=(0, 1), line="a.py:9"))
    'rank 1 waits in recv from rank 0 (a.py, line 9)'
    """
    state = board.state
    if state == "returned":
        return f"rank {rank} has returned"
    if state == "waiting":
        line = f" ({place(board.line)})" if board.line else ""
        return f"rank {rank} waits in {_call(board)}{line}"
    line = stack_line(stack)
    return f"rank {rank} is busy" + (f" at {place(line)}" if line else "; its line is not known")


def where(fate: Fate, board: Board, stack: str) -> str:
    """Return the learner's innermost line, from the traceback, the fault handler or the board."""
    line = ":".join(map(str, fate.frames[-1][:2])) if fate.frames else stack_line(stack)
    if line:
        filename, _, number = line.rpartition(":")
        source = linecache.getline(filename, int(number)).strip()
        return place(line) + (f": {source}" if source else "")
    if board.line:
        return f"last seen in {_call(board)} ({place(board.line)})"
    return ""


def _too_small(fate, board):
    """Return a line about receives from any rank.

    For receives from a known rank, the sizes are compared before the data is sent.
    """
    receives = board.state == "waiting" and board.name == "recv"
    if receives and fate.code == -signal.SIGABRT:
        return ["gloo ends a process that receives a message larger than the tensor for it"]
    return []


def _others(first, others):
    """Return lines for the other ranks that failed independently; equal failures share a line."""
    kind = first.error, first.frames
    alike = [fate for fate in others if first.frames and (fate.error, fate.frames) == kind]
    different = [fate for fate in others if fate not in alike]
    lines = [_also(fate) for fate in different[: MOST_TRACEBACKS - 1]]
    if len(different) >= MOST_TRACEBACKS:
        lines.append(f"and {len(different) - MOST_TRACEBACKS + 1} more ranks")
    if alike:
        ranks = ", ".join(str(fate.rank) for fate in sorted(alike, key=lambda fate: fate.rank))
        lines.append(f"{first.error} at the same line on rank {ranks}, too")
    return lines


def _also(fate):
    line = where(fate, Board(), "")
    return f"rank {fate.rank} {fate.what}" + (f" ({line})" if line else "")


def _left_waiting(boards, ranks):
    return [waiting_line(r, boards[r]) for r in sorted(ranks) if boards[r].name][:4]


def _tail(rank, log):
    lines = log.rstrip().splitlines()
    if not lines:
        return []
    return [f"the last lines of rank {rank}:"] + [
        f"| {line[:200]}" for line in lines[-_TAIL_LINES:]
    ]


def _call(board):
    name, group = board.name, board.group
    if name == "recv":
        return "recv from any rank" if group[0] < 0 else f"recv from rank {group[0]}"
    return f"send to rank {group[1]}" if name == "send" else name


def _signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)

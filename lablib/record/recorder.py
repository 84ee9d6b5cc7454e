"""What a rank writes down while it runs: messages issued and ended, waits, steps, marks.

Kept as plain rows, because they cross a process border at the end of the run and because writing
a row must cost microseconds. The rank's present state also stands on its `board`, a small file
that the notebook's kernel reads when nothing moves: so a hang can be explained, even of a rank
that was killed.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import time
from contextlib import contextmanager

_KIT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_STRATEGIES = os.path.join(_KIT, "strategies")
_NOT_THE_LEARNERS = (
    os.path.dirname(os.__file__),  # the standard library, and site-packages below it
    os.path.join(sys.prefix, "lib"),
    os.path.join(sys.base_prefix, "lib"),
    "<frozen",
)
_learners: dict[str, bool] = {}


def is_learners(filename: str) -> bool:
    """Whether a line of this file is the learner's own. Strategies count: they are lab text."""
    known = _learners.get(filename)
    if known is None:
        kit = filename.startswith(_KIT) and not filename.startswith(_STRATEGIES)
        known = not (kit or filename.startswith(_NOT_THE_LEARNERS))
        _learners[filename] = known
    return known


def learners_line() -> str:
    """ "file:line" of the innermost frame that is the learner's own, "" when there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        if is_learners(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


class Recorder:
    """The rows of one rank. Row layouts are in `record/program.py`, which reads them.

    board     file on which the rank's state is shown, None to show it nowhere
    clock     seconds on a clock that all ranks of the computer share
    """

    def __init__(self, board: str | None = None, clock=time.monotonic):
        self.rows: list[tuple] = []
        self.clock = clock
        self.state = "running"
        self._board = Board(board) if board else None
        self._steps = 0
        self._issued: dict[str, int] = {}
        self._messages: list[tuple] = []

    def issue(self, name, nbytes, group, *, channel, phase="other", line=None, at_s=None) -> int:
        """Write down that this rank passed `nbytes` of payload to message `name`; its number.

        group    global ranks that take part; (source, destination) for send and recv
        channel  messages of one channel match one another across ranks in their order
        phase    "forward", "backward" or "other"
        line     "file:line" of the learner, looked up on the stack when not given
        at_s     when it was issued, if that was not now
        """
        order = self._issued[channel] = self._issued.get(channel, 0) + 1
        line = learners_line() if line is None else line
        number = len(self._messages)
        self._messages.append((name, group, channel, order, line))
        at_s = self.clock() if at_s is None else at_s
        self.rows.append(("issue", number, at_s, name, nbytes, group, phase, line))
        self.goes_on()
        return number

    def done(self, number: int, at_s: float | None = None) -> None:
        """The message has ended. Called from the framework's own threads, too."""
        self.rows.append(("done", number, self.clock() if at_s is None else at_s))

    def waits(self, number: int) -> float:
        """The rank's main thread stands still for this message from now on; the time."""
        name, group, channel, order, line = self._messages[number]
        self._show("waiting", name=name, group=group, channel=channel, order=order, line=line)
        return self.clock()

    def waited(self, number: int, start_s: float) -> None:
        """The wait that began at `start_s` is over."""
        self.rows.append(("wait", number, start_s, self.clock()))
        self.goes_on()

    def waits_until_done(self, number: int) -> None:
        """As `waits`, where nobody sees the wait's end: it is the message's."""
        self.rows.append(("wait", number, self.waits(number), -1.0))

    def derived(self, name, nbytes, group, line) -> None:
        """A message that follows from the framework's placement; seen by nobody on the way."""
        self.rows.append(("derived", self.clock(), name, nbytes, group, line))

    @contextmanager
    def step(self, samples: int):
        start_s = self.clock()
        yield
        self.rows.append(("step", start_s, self.clock(), samples))
        self._steps += 1
        self._show("running")

    def mark(self, name: str) -> None:
        self.rows.append(("mark", self.clock(), name))

    def goes_on(self) -> None:
        """Not waiting any more."""
        if self.state != "running":
            self.state = "running"
            if self._board:
                self._board.running()

    def returned(self) -> None:
        """The learner's function is over."""
        self._show("returned")

    def _show(self, state, **message):
        self.state = state
        if self._board:
            self._board.write(
                {"state": state, "issued": self._issued, "steps": self._steps} | message
            )


class Board:
    """A small file in memory that both the rank and the kernel map: JSON, or "-" while running.

    Written at every wait, so it must cost microseconds; no system call is made.
    """

    SIZE = 4096

    def __init__(self, path: str):
        with open(path, "w+b") as file:
            file.truncate(self.SIZE)
            self._map = mmap.mmap(file.fileno(), self.SIZE)

    def write(self, state: dict) -> None:
        text = json.dumps(state).encode()
        if len(text) < self.SIZE:
            self._map[: len(text) + 1] = text + b"\n"

    def running(self) -> None:
        """The state is "running"; the rest of what was written stays."""
        self._map[:1] = b"-"

    @staticmethod
    def read(path) -> dict:
        """What the board at `path` shows; {} when there is none yet or it is being written."""
        try:
            with open(path, "rb") as file:
                text = file.read().partition(b"\n")[0]
            runs = text.startswith(b"-")
            board = json.loads(b"{" + text[1:]) if runs else json.loads(text or b"{}")
        except (OSError, ValueError):
            return {}
        return board | {"state": "running"} if runs else board

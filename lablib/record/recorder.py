"""What a rank writes down while it runs: messages issued and ended, waits, steps, marks.

Kept as plain rows, because they cross a process border at the end of the run and because writing
a row must cost microseconds. The rank's present state also stands on its `board`, a small file
that the notebook's kernel reads when nothing moves: so a hang can be explained, even of a rank
that was killed.
"""

from __future__ import annotations

import json
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

    board     descriptor of the rank's board, None to keep none
    clock     seconds on a clock that all ranks of the computer share
    """

    BOARD_BYTES = 4096

    def __init__(self, board: int | None = None, clock=time.monotonic):
        self.rows: list[tuple] = []
        self.clock = clock
        self.state = "running"
        self._steps = 0
        self._board = board
        self._issued: dict[str, int] = {}
        self._messages: dict[int, tuple] = {}

    def issue(
        self, name, nbytes, group, *, channel, phase="other", line=None, at_s=None
    ) -> int:
        """Write down that this rank passed `nbytes` of payload to message `name`; its number.

        group    global ranks that take part; (source, destination) for send and recv
        channel  messages of one channel match one another across ranks in their order
        phase    "forward", "backward" or "other"
        line     "file:line" of the learner, looked up on the stack when not given
        at_s     when it was issued, if that was not now
        """
        number = len(self._messages)
        order = self._issued[channel] = self._issued.get(channel, 0) + 1
        line = learners_line() if line is None else line
        self._messages[number] = (name, group, channel, order, line)
        at_s = self.clock() if at_s is None else at_s
        self.rows.append(("issue", number, at_s, name, nbytes, group, phase, line))
        self.show("running")
        return number

    def done(self, number: int, at_s: float | None = None) -> None:
        """The message has ended. Called from the framework's own threads, too."""
        self.rows.append(("done", number, self.clock() if at_s is None else at_s))

    @contextmanager
    def waiting(self, number: int):
        """The rank's main thread stands still for this message."""
        start_s = self.clock()
        self.show("waiting", number)
        yield
        self.rows.append(("wait", number, start_s, self.clock()))
        self.show("running")

    def waits_from_now(self, number: int) -> None:
        """As `waiting`, where only the message's end tells when the wait is over."""
        self.rows.append(("wait", number, self.clock(), -1.0))
        self.show("waiting", number)

    def derived(self, name, nbytes, group, line) -> None:
        """A message that follows from the framework's placement; seen by nobody on the way."""
        self.rows.append(("derived", self.clock(), name, nbytes, group, line))

    @contextmanager
    def step(self, samples: int):
        start_s = self.clock()
        yield
        self.rows.append(("step", start_s, self.clock(), samples))
        self._steps += 1
        self.show("running")

    def mark(self, name: str) -> None:
        self.rows.append(("mark", self.clock(), name))

    def show(self, state: str, number: int | None = None) -> None:
        """Put this rank's state on its board: running, waiting for a message, returned."""
        self.state = state
        if self._board is None:
            return
        board = {"state": state, "issued": self._issued, "steps": self._steps}
        if number is not None:
            name, group, channel, order, line = self._messages[number]
            board |= dict(name=name, group=group, channel=channel, order=order, line=line)
        text = json.dumps(board).encode()
        if len(text) < self.BOARD_BYTES:
            os.pwrite(self._board, text.ljust(self.BOARD_BYTES), 0)

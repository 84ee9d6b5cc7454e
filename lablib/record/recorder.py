"""What a rank writes down while it runs: compute, messages issued and ended, waits, steps, marks.

Kept as plain rows, because they cross a process border at the end of the run and because writing
a row must cost microseconds. The rank's present state also stands on its `board`, which the
notebook's kernel reads when nothing moves: so a hang can be explained, even of a rank that was
killed.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

from lablib.record.board import Board, BoardFile
from lablib.record.learners_code import learners_line

_LONGEST_LOGGED, _MOST_LOGGED = 40, 100  # characters, values
_LARGEST_LOGGED = 2**53


class Recorder:
    """The rows of one rank. Row layouts are in `record/program.py`, which reads them.

    board     file on which the rank's state is shown, None to show it nowhere
    clock     seconds on a clock that all ranks of the computer share
    spent     () -> (costs, cpu_s): what the rank has computed since it was last called
    memory    counts the bytes of live tensors (a `LiveBytes`); None where nobody does
    """

    def __init__(self, board: str | None = None, clock=time.monotonic, spent=lambda: ((), 0.0)):
        self.rows: list[tuple] = []
        self.clock, self.spent, self.memory = clock, spent, None
        self.state = "running"
        self._phases: list[str] = []
        self._board = BoardFile(board) if board else None
        self._steps = self._sent_bytes = 0
        self._logged: dict = {}
        self._channels: dict[str, list[int]] = {}  # its number, and how many were issued on it
        self._messages: list[tuple] = []

    @property
    def phase(self) -> str:
        """ "forward", "backward" or "other". What a backward pass computes again stays backward."""
        if "backward" in self._phases:
            return "backward"
        return self._phases[-1] if self._phases else "other"

    def enters(self, phase: str) -> None:
        """The forward or backward pass begins; pairs with `leaves`."""
        self._turn(lambda: self._phases.append(phase))

    def leaves(self) -> None:
        """The pass that was entered last is over."""
        self._turn(self._phases.pop)

    def computed(self, phase=None, costs=None, cpu_s=0.0) -> None:
        """Write down what was computed: what is given, or what was not yet."""
        if costs is None:
            costs, cpu_s = self.spent()
        if costs or cpu_s:
            self.rows.append(("compute", phase or self.phase, costs, cpu_s))

    def issue(self, name, nbytes, group, *, channel, phase=None, line=None, at_s=None) -> int:
        """Write down that this rank passed `nbytes` of payload to message `name`; its number.

        group    global ranks that take part; (source, destination) for send and recv
        channel  messages of one channel match one another across ranks in their order
        phase    the rank's present one when not given
        line     "file:line" of the learner, looked up on the stack when not given
        at_s     when it was issued, if that was not now
        """
        self.computed()
        order = self._count(channel)
        line = learners_line() if line is None else line
        self._sent_bytes += 0 if name == "recv" else nbytes
        number = len(self._messages)
        self._messages.append((name, group, channel, order, line))
        at_s = self.clock() if at_s is None else at_s
        phase = phase or self.phase
        self.rows.append(("issue", number, at_s, name, nbytes, group, phase, line, channel, order))
        self.goes_on()
        return number

    def place_of(self, number: int) -> tuple[str, int, str]:
        """Channel, order and learner's line of a message that was issued."""
        return self._messages[number][2:]

    def done(self, number: int, at_s: float | None = None) -> None:
        """The message has ended. Called from the framework's own threads, too."""
        self.rows.append(("done", number, self.clock() if at_s is None else at_s))

    def waits(self, number: int, over: bool = False) -> float:
        """The rank's main thread stands still for this message from now on; the time.

        over   the message has ended: nobody has to be told of the wait
        """
        self.computed()
        if over:
            return self.clock()
        self._show("waiting", *self._messages[number])
        return self.clock()

    def waited(self, number: int, start_s: float) -> None:
        """The wait that began at `start_s` is over."""
        self.rows.append(("wait", number, start_s, self.clock()))
        self.spent()  # on waiting: no part of the program
        self.goes_on()

    def waits_until_done(self, number: int) -> None:
        """As `waits`, where nobody sees the wait's end: it is the message's."""
        self.rows.append(("wait", number, self.waits(number), -1.0))

    def derived(self, name, nbytes, group, line) -> None:
        """A message that follows from the framework's placement; seen by nobody on the way."""
        self.rows.append(("derived", self.clock(), name, nbytes, group, line))

    @contextmanager
    def step(self, samples: int):
        self.computed()
        start_s = self.clock()
        self.rows.append(("begin", start_s))
        yield
        self.computed()
        self.rows.append(("step", start_s, self.clock(), samples))
        self._steps += 1
        self._show("running")

    def mark(self, name: str) -> None:
        self.computed()
        self.rows.append(("mark", self.clock(), name))

    def tells(self, values: dict) -> None:
        """Show these values on the board: numbers, and short texts."""
        for name, value in values.items():
            name = name[:_LONGEST_LOGGED]
            self._logged.pop(name, None)  # what is put in again is the newest
            self._logged[name] = _short(value)
        for name in list(self._logged)[:-_MOST_LOGGED]:
            del self._logged[name]
        self._show("running")

    def goes_on(self) -> None:
        """Not waiting any more."""
        if self.state != "running":
            self.state = "running"
            if self._board:
                self._board.running()

    def lives(self, function, *args):
        """Call the learner's function, from its first line to its last; its value."""
        self.spent()  # before the first line
        start_s = self.clock()
        value = function(*args)
        self.computed()
        self.rows.append(("life", start_s, self.clock()))
        self._show("returned")
        return value

    def _count(self, channel):
        """One more message on this channel; how many these are now."""
        known = self._channels.get(channel)
        if known is None:
            known = self._channels[channel] = [len(self._channels), 0]
            if self._board:
                self._board.add_channel(known[0], channel)
        known[1] += 1
        if self._board:
            self._board.count(*known)
        return known[1]

    def _turn(self, change):
        """To another phase, if it is one."""
        before = self.phase
        self.computed()
        change()
        if self.phase != before:
            self.rows.append(("phase", self.clock(), self.phase))

    def _show(self, state, *message):
        self.state = state
        if self._board:
            self._board.write(Board(state, self._steps, self._sent_bytes, self._logged, *message))


def _short(value):
    """The value as a board shows it: a number, or a short text."""
    small = isinstance(value, int) and abs(value) < _LARGEST_LOGGED
    return value if small or isinstance(value, float) else str(value)[:_LONGEST_LOGGED]


class CpuSeconds:
    """() -> (no costs, CPU seconds of the thread that made it since it was last called)."""

    def __init__(self):
        self._thread, self._last_s = threading.get_ident(), time.thread_time()

    def __call__(self) -> tuple[tuple, float]:
        if threading.get_ident() != self._thread:
            return (), 0.0
        before_s, self._last_s = self._last_s, time.thread_time()
        return (), self._last_s - before_s

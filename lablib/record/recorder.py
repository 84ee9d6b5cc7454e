"""Record what a rank does while it runs: compute, messages, waits, steps and marks.

The recorder keeps typed rows, because writing one must take about a microsecond. The rank's current
state is also on its `board`, which the notebook's kernel reads when no rank makes progress. So the
kernel can explain a hang even if the rank was killed.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from itertools import starmap

from lablib.record.board import Board, BoardFile
from lablib.record.bounds import LARGEST, LONGEST_LABEL, LONGEST_LOGGED, MOST_LOGGED
from lablib.record.cost import Cost
from lablib.record.learners_code import learners_line
from lablib.record.rows import (
    Computed,
    Derived,
    Ended,
    Issued,
    Marked,
    PhaseChanged,
    Returned,
    Row,
    StepBegun,
    StepEnded,
    Waited,
)


class Recorder:
    """Record the rows of one rank.

    board     path of the file that shows the rank's state; None: do not show it
    clock     () -> seconds on a clock that all ranks of the computer share
    spent     () -> (costs, cpu_s): what the rank has computed since the last call of `spent`; each
              cost is (flops, nbytes, precision, count). If the device works asynchronously, as a
              GPU does, `spent` first waits for it
    uncosted  the operations so far whose cost is unknown, with the shapes of their tensors
    memory    an object with `restart()` and `peak_bytes` of live tensors; None: not counted
    """

    def __init__(self, board: str | None = None, clock=time.monotonic, spent=lambda: ((), 0.0)):
        self.rows: list[Row] = []
        self.clock = clock
        self.spent = spent
        self.memory = None
        self.uncosted: list[str] = []
        self.state = "running"
        self._phases: list[str] = []
        self._board = BoardFile(board) if board else None
        self._steps = self._sent_bytes = 0
        self._logged: dict = {}
        # {channel: [its number, the number of messages issued on it]}
        self._channels: dict[str, list[int]] = {}
        # For each message: name, group, channel, order and line, as on a board.
        self._messages: list[tuple[str, tuple[int, ...], str, int, str]] = []

    @property
    def phase(self) -> str:
        """Return the current phase: "forward", "backward" or "other".

        A forward pass inside a backward pass, which computes activations again, is "backward".
        """
        if "backward" in self._phases:
            return "backward"
        return self._phases[-1] if self._phases else "other"

    def enters(self, phase: str) -> None:
        """Record that a forward or backward pass begins; `leaves` records its end."""
        self._change_phase(lambda: self._phases.append(phase))

    def leaves(self) -> None:
        """Record the end of the pass that was entered last."""
        self._change_phase(self._phases.pop)

    def computed(self, phase=None, costs=None, cpu_s=0.0) -> None:
        """Record what was computed: `costs` and `cpu_s`, or the result of `spent`."""
        if costs is None:
            costs, cpu_s = self.spent()
        if costs or cpu_s:
            costs = tuple(starmap(Cost, costs))
            self.rows.append(Computed(phase or self.phase, costs, cpu_s))

    def issue(self, name, nbytes, group, *, channel, phase=None, line=None, at_s=None) -> int:
        """Record that this rank passed `nbytes` of payload to a message; return its number.

        group    global ranks that take part; (source, destination) for send and recv
        channel  messages of one channel match one another across ranks in their order
        phase    None: the rank's current phase
        line     "file:line" of the learner; None: look it up on the stack
        at_s     the time at which the message was issued; None: now
        """
        self.computed()
        order = self._count(channel)
        line = learners_line() if line is None else line
        self._sent_bytes += 0 if name == "recv" else nbytes
        number = len(self._messages)
        self._messages.append((name, group, channel, order, line))
        at_s = self.clock() if at_s is None else at_s
        phase = phase or self.phase
        self.rows.append(Issued(number, at_s, name, nbytes, group, phase, line, channel, order))
        self._show_running()
        return number

    def place_of(self, number: int) -> tuple[str, int, str]:
        """Return channel, order and learner's line of a message that was issued."""
        return self._messages[number][2:]

    def done(self, number: int, at_s: float | None = None) -> None:
        """Record that the message has ended. The framework's own threads call it, too."""
        self.rows.append(Ended(number, self.clock() if at_s is None else at_s))

    def waits(self, number: int, over: bool = False) -> float:
        """Show that the rank's main thread waits for this message; return the current time.

        over   True: the message has ended already, so the board need not show the wait
        """
        self.computed()
        if not over:
            self._show("waiting", *self._messages[number])
        return self.clock()

    def waited(self, number: int, start_s: float) -> None:
        """Record the end of the wait that began at `start_s`."""
        self.spent()  # CPU time used for waiting does not belong to the program
        self.rows.append(Waited(number, start_s, self.clock()))
        self._show_running()

    def waits_until_done(self, number: int) -> None:
        """Record a wait whose end cannot be observed: it ends with the message."""
        self.rows.append(Waited(number, self.waits(number), -1.0))

    @contextmanager
    def meets(self, name: str, group: tuple[int, ...], channel: str):
        """Show that the rank waits in the `with` block until all ranks of `group` do the same.

        This is for calls that wait for other ranks, but send nothing that a program contains.
        """
        order = self._count(channel)
        self._show("waiting", name, group, channel, order, learners_line())
        try:
            yield
        finally:
            self._show_running()

    def derived(self, name, nbytes, group, line) -> None:
        """Record a message that follows from the framework's placement and cannot be observed."""
        self.rows.append(Derived(self.clock(), name, nbytes, group, line))

    @contextmanager
    def step(self, samples: int):
        """Record the statements in the `with` block as one training step."""
        self.computed()
        start_s = self.clock()
        self.rows.append(StepBegun(start_s))
        yield
        self.computed()
        self.rows.append(StepEnded(start_s, self.clock(), int(samples)))
        self._steps += 1
        self._show("running")

    def mark(self, label: str) -> None:
        """Record that the learner marked this moment."""
        self.computed()
        self.rows.append(Marked(self.clock(), str(label)[:LONGEST_LABEL]))

    def show_logged(self, values: dict) -> None:
        """Show these values on the board as numbers and short texts; keep the newest others."""
        for name, value in values.items():
            name = name[:LONGEST_LOGGED]
            self._logged.pop(name, None)  # move a value that is logged again to the end
            self._logged[name] = _short(value)
        for name in list(self._logged)[:-MOST_LOGGED]:
            del self._logged[name]
        self._show("running")

    def run(self, function, *args):
        """Call the learner's function and record how long it ran; return its value."""
        self.spent()  # so that earlier CPU time does not count
        start_s = self.clock()
        value = function(*args)
        self.computed()
        self.rows.append(Returned(start_s, self.clock()))
        self._show("returned")
        return value

    def _count(self, channel):
        """Count one more message on this channel; return how many there are now."""
        known = self._channels.get(channel)
        if known is None:
            known = self._channels[channel] = [len(self._channels), 0]
            if self._board:
                self._board.add_channel(known[0], channel)
        known[1] += 1
        if self._board:
            self._board.count(*known)
        return known[1]

    def _change_phase(self, change):
        before = self.phase
        self.computed()
        change()
        if self.phase != before:
            self.rows.append(PhaseChanged(self.clock(), self.phase))

    def _show(self, state, *message):
        self.state = state
        if self._board:
            self._board.write(Board(state, self._steps, self._sent_bytes, self._logged, *message))

    def _show_running(self):
        if self.state != "running":
            self.state = "running"
            if self._board:
                self._board.running()


def _short(value):
    """Return the value as a board shows it: a number, or a short text."""
    small = isinstance(value, int) and abs(value) <= LARGEST
    return value if small or isinstance(value, float) else str(value)[:LONGEST_LOGGED]


class CpuSeconds:
    """Return (no costs, CPU seconds since the last call) of the thread that made this object."""

    def __init__(self):
        self._thread = threading.get_ident()
        self._last_s = time.thread_time()

    def __call__(self) -> tuple[tuple, float]:
        if threading.get_ident() != self._thread:
            return (), 0.0
        before_s, self._last_s = self._last_s, time.thread_time()
        return (), self._last_s - before_s

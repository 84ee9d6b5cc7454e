"""Watch a running cluster in the notebook: what each rank does, and a button to stop the run.

with lab.Cluster(4) as cluster:
    run = cluster.run(work, watch=live.View())
"""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Sequence

from lablib.cluster.supervise import Watched
from lablib.record.board import Board
from lablib.record.learners_code import place
from lablib.units import show_bytes
from lablib.views.notebook_output import in_notebook

_TAIL_BYTES = 2000
_LONGEST = 60  # most letters of a log's last line that are shown
_CELL = "text-align: left; padding: 0 0.6em"
COLUMNS = (
    "rank", "role", "node", "state", "steps", "CPU", "memory", "payload", "logged", "last line",
)  # fmt: skip


class View:
    """Show the ranks of a run while it is going on; pass it as `watch=` to a run.

    every_s    seconds between two updates

    CPU is the percentage of one core since the last update. Memory counts only the process's own
    memory. Payload is the bytes per second that its messages carried. All of them are measured,
    even if the run's times are modelled. `logged` shows the last values given to `me.log`. In a
    notebook, a button stops the run, as interrupting the kernel does: the ranks end, and the
    cluster can run again. After the run, the last state stays visible; `rows` has it as data, and
    `text` as text for terminals.
    """

    def __init__(self, every_s: float = 0.5):
        self.every_s = every_s
        self.rows: list[dict[str, str]] = []
        self.stopped = threading.Event()
        self._shown: _Shown | None = None
        self._ranks: list[Watched] = []
        self._boards: Sequence[Board] = []
        self._state = "not begun"

    def begins(self, ranks: list[Watched]) -> None:
        """Begin to watch a run with these ranks."""
        self._ranks, self._state = ranks, "running"
        self.stopped.clear()
        self._processes = {each.rank: _process(each.pid) for each in ranks}
        self._bytes: dict[int, int] = {}
        self._begun_s = self._looked_s = time.monotonic()
        if in_notebook() and self._shown is None:
            self._shown = _Shown(self)

    def __call__(self, boards: Sequence[Board]) -> None:
        """Update the view if it is time. Raises KeyboardInterrupt after `stop` was called."""
        if self.stopped.is_set():
            self._state = "stopped"
            raise KeyboardInterrupt
        self._boards, now_s = boards, time.monotonic()
        if not self.rows or now_s - self._looked_s >= self.every_s:
            self._look(boards, now_s - self._looked_s)
            self._looked_s = now_s

    def stop(self, *_) -> None:
        """Stop the run within a tenth of a second. Any thread may call this method."""
        self.stopped.set()

    def close(self) -> None:
        """Stop watching and keep the last state. A second call does nothing."""
        if self._state == "running":
            self._state = "over"
        for row, each, board in zip(self.rows, self._ranks, self._boards):
            row |= _columns(each, board)
        if self._shown is not None:
            self._shown.ends()
            self._shown = None

    def _look(self, boards, passed_s):
        self.rows = [self._row(each, board, passed_s) for each, board in zip(self._ranks, boards)]
        if self._shown is not None:
            self._shown.refresh()

    def _row(self, each, board, passed_s):
        cpu, memory = _used(self._processes[each.rank])
        before = self._bytes.get(each.rank, 0)
        self._bytes[each.rank] = now = max(board.sent_bytes, before)
        per_s = (now - before) / passed_s if passed_s > 0 else 0.0
        used = {"CPU": cpu, "memory": memory, "payload": f"{show_bytes(per_s)}/s"}
        row = {"rank": str(each.rank), "role": each.role, "node": str(each.node)}
        row |= used | _columns(each, board)
        return {column: row[column] for column in COLUMNS}

    @property
    def title(self) -> str:
        """Return the number of ranks, whether they are running, and for how long."""
        ended_s = self._looked_s if self._state != "not begun" else 0.0
        seconds = ended_s - self._begun_s if self._state != "not begun" else 0.0
        return f"{len(self._ranks)} ranks, {self._state}, {seconds:.0f} s (measured)"

    @property
    def text(self) -> str:
        """Return the last state as lines of text."""
        rows = [list(COLUMNS), *(list(row.values()) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(f"{cell:{w}}" for cell, w in zip(row, widths)).rstrip() for row in rows]
        return "\n".join([self.title, *lines])

    def __repr__(self):
        return f"View({self.title})"

    def _repr_html_(self):
        head = "".join(f'<th scope="col" style="{_CELL}">{c}</th>' for c in COLUMNS)
        cell = f'<td style="{_CELL}">'
        rows = "".join(
            f"<tr>{''.join(f'{cell}{html.escape(value)}</td>' for value in row.values())}</tr>"
            for row in self.rows
        )
        caption = f'<caption style="white-space: nowrap">{html.escape(self.title)}</caption>'
        table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        return f'<div style="overflow-x: auto">{table}</div>'


class _Shown:
    """The view in a notebook: a table and a button, which are a table alone on a page."""

    def __init__(self, view: View):
        import ipywidgets
        from IPython.display import display

        self._view = view
        self._page = ipywidgets.HTML(view._repr_html_())
        self._button = ipywidgets.Button(
            description="Stop the run", icon="stop", tooltip="End all ranks of this run"
        )
        self._button.on_click(view.stop)
        _heard_while_a_cell_runs(self._button.comm)
        self._box = ipywidgets.VBox([self._button, self._page])
        self._handle = display(self._bundle(), raw=True, display_id=True)

    def refresh(self):
        self._page.value = self._view._repr_html_()

    def ends(self):
        self._button.disabled = True
        self.refresh()
        # This is shown on pages without a kernel.
        self._handle.update(self._bundle(), raw=True)

    def _bundle(self):
        static = {"text/html": self._view._repr_html_(), "text/plain": self._view.text}
        return self._box._repr_mimebundle_() | static


def _heard_while_a_cell_runs(comm):
    """Handle messages of this comm in the thread that the notebook asks for.

    JupyterLab handles clicks on widgets in a separate thread of the kernel (a subshell, Jupyter
    enhancement proposal 91), which can react while a cell runs. ipykernel 7.4 passes them on to the
    thread that opened the comm. That is the cell's thread, which would react only after the run.
    """
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda data, asked_for: asked_for


def _process(pid):
    import psutil

    try:
        process = psutil.Process(pid)
        process.cpu_percent()  # its CPU percentage counts from now on
    except psutil.Error:
        return None
    return process


def _used(process):
    """Return CPU and memory in words; dashes if the process has ended."""
    import psutil

    try:
        memory = process.memory_full_info().uss
        return f"{process.cpu_percent():.0f}%", show_bytes(memory)
    except (psutil.Error, AttributeError):
        return "–", "–"


def _columns(each, board):
    """Return what the rank reports, column by column."""
    logged = (f"{name} {_value(value)}" for name, value in board.logged.items())
    return {
        "state": _state(board),
        "steps": str(board.steps),
        "logged": ", ".join(logged),
        "last line": _last_line(each.log),
    }


def _state(board):
    if board.state != "waiting":
        return board.state or "starting"
    line = f" ({place(board.line)})" if board.line else ""
    return f"waits in {board.name}{line}"


def _value(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _last_line(log):
    lines = log(_TAIL_BYTES).rstrip().splitlines()
    last = lines[-1] if lines else ""
    return last if len(last) <= _LONGEST else f"…{last[-_LONGEST:]}"

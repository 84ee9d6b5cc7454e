"""The event log of a delivery: the service writes a line of JSON for each thing that happens.

    begins   commit, runner
    plan     jobs                        (job, framework and needs of each)
    job      job, framework, state       running, succeeded, failed, skipped, stopped
    line     job, framework, text        what a step printed
    ended    outcome, reason, version

Each has `at_s`, in seconds since 1970. `delivery.read` makes a `Delivery` of them.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from lablib.ops.workflow_file import PlannedJob

_LONGEST_LINE, _MOST_LINES = 2000, 5000  # of all jobs together


class EventLog:
    """Writes the log of one delivery, and remembers the states of its jobs.

    folder   of this delivery, `state/runs/<number>`
    say      called with a line of text for each job that starts or ends, and for the outcome
    """

    def __init__(self, folder: Path, commit: str, runner: str, say: Callable[[str], None]):
        self.folder, self.commit, self._say, self._lines = folder, commit, say, 0
        self.states: dict[tuple[str, str | None], str] = {}
        self.last_lines: deque[str] = deque(maxlen=50)
        # One system call for each event: a reader never sees two of them mixed.
        self._file = os.open(folder / "events.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._write("begins", commit=commit, runner=runner)

    def plan(self, jobs: Sequence[PlannedJob]) -> None:
        """Note which jobs there are; all of them are waiting."""
        self.states = {(job.name, job.framework): "waiting" for job in jobs}
        rows = [dict(job=job.name, framework=job.framework, needs=job.needs) for job in jobs]
        self._write("plan", jobs=rows)

    def job(self, job: str, framework: str | None, state: str) -> None:
        """Note that a job has a new state. A job that has ended never runs again.

        act passes on some lines of a job's output after it has reported the job's end.
        """
        before = self.states.get((job, framework))
        if before == "waiting" or (before == "running" and state != "running"):
            self.states[job, framework] = state
            self._write("job", job=job, framework=framework, state=state)
            self._say(f"{title(job, framework)}: {state}")

    def has_started(self, job: str) -> bool:
        """Return whether the job of that name has begun, or has ended."""
        return any(
            state not in ("waiting", "skipped")
            for (name, _), state in self.states.items()
            if name == job
        )

    def line(self, job: str | None, framework: str | None, text: str) -> None:
        """Note a line that a job, or the runner itself, has printed."""
        self._lines += 1
        self.last_lines.append(text)
        if self._lines <= _MOST_LINES:
            self._write("line", job=job, framework=framework, text=text[:_LONGEST_LINE])

    def end(self, outcome: str, reason: str, version: int | None = None) -> None:
        """Note the outcome. Jobs that are still running are stopped, the waiting ones skipped."""
        for (job, framework), state in list(self.states.items()):
            if state in ("running", "waiting"):
                self.job(job, framework, "stopped" if state == "running" else "skipped")
        self._write("ended", outcome=outcome, reason=reason, version=version)
        self._say(f"{outcome}: {reason}")
        os.close(self._file)

    def _write(self, event, **fields):
        row = {"event": event, "at_s": time.time(), **fields}
        os.write(self._file, json.dumps(row).encode() + b"\n")


def end_unfinished(runs: Path) -> bool:
    """Note the end of deliveries whose service has ended; return whether there was one.

    runs   the folder `state/runs`
    """
    unfinished = [
        path
        for path in runs.glob("*/events.jsonl")
        if b'{"event": "ended"' not in path.read_bytes()
    ]
    for path in unfinished:
        reason = "the pipeline was closed, or its service was killed"
        row = dict(event="ended", at_s=path.stat().st_mtime, outcome="failed", reason=reason)
        with open(path, "ab") as file:
            file.write(b"\n" + json.dumps(row).encode() + b"\n")
    return bool(unfinished)


def title(job: str, framework: str | None) -> str:
    """Return the name of a job, with the framework of its matrix.

    >>> title("train", "torch"), title("test", None)
    ('train (torch)', 'test')
    """
    return f"{job} ({framework})" if framework else job

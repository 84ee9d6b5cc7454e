"""A delivery: what happened to one pushed commit, read from the event log of its run."""

from __future__ import annotations

import html
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from lablib.ops.event_log import title
from lablib.views.diagrams import job_graph
from lablib.views.diagrams.svg import Diagram

PROMOTED = "promoted"
REJECTED_BY_TESTS = "rejected by the tests"
REJECTED_BY_GATE = "rejected by the gate"
ROLLED_BACK = "rolled back"
FAILED = "failed"
OUTCOMES = (PROMOTED, REJECTED_BY_TESTS, REJECTED_BY_GATE, ROLLED_BACK, FAILED)
_LONGEST_LOG = 200  # lines that are shown of a failed job


@dataclass(frozen=True)
class JobRun:
    """One job of a delivery; a job with a matrix has a `JobRun` for each value.

    framework   the value of the matrix, None if the job has no matrix
    needs       the jobs that had to succeed before
    state       "waiting", "running", "succeeded", "failed", "skipped" (a job before it failed) or
                "stopped" (the delivery ended while it was running)
    start_s     seconds since the delivery began; None if it has not started
    end_s       the same for its end
    log         what its steps printed
    """

    name: str
    framework: str | None = None
    needs: tuple[str, ...] = ()
    state: str = "waiting"
    start_s: float | None = None
    end_s: float | None = None
    log: str = ""

    @property
    def title(self) -> str:
        """Return its name, with the framework of the matrix."""
        return title(self.name, self.framework)

    @property
    def seconds(self) -> float | None:
        """Return how long it took; None while it has not ended."""
        return self.end_s - self.start_s if self.start_s is not None and self.end_s else None


class Delivery(NamedTuple):
    """What happened to one pushed commit.

    outcome   one of `lab.ops.OUTCOMES`; None while the delivery is running
    reason    why, in a sentence
    jobs      a `JobRun` for each job, in the order of the workflow file
    seconds   from the push to the end
    commit    the commit's hash
    version   the number of the registered model version, if the gate registered one
    runner    "act", or "the kit" where act is not available
    """

    number: int
    outcome: str | None
    reason: str
    jobs: tuple[JobRun, ...]
    seconds: float
    commit: str
    version: int | None
    runner: str

    def diagram(self) -> Diagram:
        """Draw the jobs as a graph, with their states and durations."""
        boxes = [
            job_graph.Box(job.name, job.framework, job.needs, job.state, job.seconds)
            for job in self.jobs
        ]
        state = self.outcome or "running"
        title = f"Delivery {self.number}, commit {self.commit[:7]}: {state}, {self.seconds:.1f} s"
        return job_graph.draw(boxes, title)

    def __repr__(self):
        state = self.outcome or "running"
        reason = f": {self.reason}" if self.reason else ""
        return f"<Delivery {self.number} of {self.commit[:7]}, {state}{reason}>"

    def _repr_html_(self):
        shown = self.diagram()._repr_mimebundle_()["text/html"]
        reason = (
            f"<p><b>{html.escape(self.outcome or 'running')}</b>: {html.escape(self.reason)}</p>"
        )
        logs = [
            f"<details open><summary>Log of {html.escape(job.title)}</summary>"
            f"<pre>{html.escape(log_end(job))}</pre></details>"
            for job in self.jobs
            if job.state == "failed"
        ]
        return "".join([shown, reason if self.reason else "", *logs])


def log_end(job: JobRun) -> str:
    """Return the last lines of a job's log."""
    return "\n".join(job.log.splitlines()[-_LONGEST_LOG:])


def read(folder: Path) -> Delivery | None:
    """Return the delivery whose event log is in this folder; None if its log is still empty."""
    events = _events(folder / "events.jsonl")
    if not events:
        return None
    first, ended = events[0], {}
    jobs: dict[tuple, JobRun] = {}
    logs = defaultdict(list)
    for event in events[1:]:
        key = event.get("job"), event.get("framework")
        if event["event"] == "plan":
            jobs = {(row["job"], row["framework"]): _planned(row) for row in event["jobs"]}
        elif event["event"] == "line":
            logs[key].append(event["text"])
        elif event["event"] == "ended":
            ended = event
        elif key in jobs:
            jobs[key] = _moved(jobs[key], event["state"], event["at_s"] - first["at_s"])
    return Delivery(
        number=int(folder.name),
        outcome=ended.get("outcome"),
        reason=ended.get("reason", ""),
        jobs=tuple(replace(job, log="\n".join(logs[key])) for key, job in jobs.items()),
        seconds=events[-1]["at_s"] - first["at_s"],
        commit=first["commit"],
        version=ended.get("version"),
        runner=first["runner"],
    )


def _planned(row):
    return JobRun(row["job"], row["framework"], tuple(row["needs"]))


def _moved(job, state, at_s):
    if state == "running":
        return replace(job, state=state, start_s=at_s)
    return replace(job, state=state, end_s=at_s)


def _events(path):
    """Return all complete lines of the log; the last line of a writer may be half written."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = text[: text.rfind(b"\n") + 1].splitlines()
    return [event for line in lines for event in _event(line)]


def _event(line):
    try:
        return [json.loads(line)]
    except ValueError:
        return []  # its writer was killed

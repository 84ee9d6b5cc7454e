"""What came of a delivery: what its steps report, and what the service concludes from it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from lablib.files import write_completely
from lablib.ops import delivery
from lablib.ops.event_log import EventLog

RUN_VARIABLE = "PIPELINE_RUN"  # the folder of this delivery, in the environment of every step
TEST_JOB, DEPLOY_JOB = "test", "deploy"
# bash runs this file before each step and writes the step's exit status when it ends. A step whose
# shell was killed writes nothing.
_REMEMBERS_STATUS = """unset BASH_ENV
trap 'echo "$GITHUB_JOB $?" >> "$PIPELINE_RUN/statuses"' EXIT
"""


class Conclusion(NamedTuple):
    """The end of a delivery: one of `OUTCOMES`, a sentence, and the model version or None."""

    outcome: str
    reason: str
    version: int | None = None


class _Decision(msgspec.Struct):
    """What the jobs `gate` and `deploy` write to `reason.json`; see `job_report`."""

    job: Literal["gate", "deploy"]
    passed: bool
    reason: Annotated[str, msgspec.Meta(max_length=4000)]
    version: int | None = None


def remember_statuses(folder: Path) -> dict[str, str]:
    """Return the environment that makes bash note the exit status of each step in `folder`."""
    script = write_completely(folder / "bash_env", _REMEMBERS_STATUS)
    return {"BASH_ENV": str(script), RUN_VARIABLE: str(folder)}


def conclude(log: EventLog, runner_status: int) -> Conclusion:
    """Return what came of a delivery, once its runner has ended.

    runner_status   the runner's exit status; below zero: the signal that ended it
    """
    decision = _decision(log.folder / "reason.json")
    failed = [job for (job, _), state in log.states.items() if state == "failed"]
    if failed and runner_status >= 0:
        return _of_failed_job(log, failed[0], decision)
    if runner_status:
        return Conclusion(delivery.FAILED, f"the runner {_words(runner_status)}")
    if decision and decision.job == "deploy" and decision.passed:
        return Conclusion(delivery.PROMOTED, decision.reason, decision.version)
    return Conclusion(delivery.FAILED, "all jobs succeeded, but none of them promoted a version")


def _of_failed_job(log, job, decision):
    status = next(filter(None, _statuses(log.folder, job)), None)
    if status is None or status >= 128:
        words = "a step was killed" if status is None else f"a step {_words(status)}"
        return Conclusion(delivery.FAILED, f"job {job}: {words}")
    if job == TEST_JOB:
        return Conclusion(delivery.REJECTED_BY_TESTS, _failed_test(log))
    if decision and decision.job == job and not decision.passed:
        outcome = delivery.REJECTED_BY_GATE if job == "gate" else delivery.ROLLED_BACK
        return Conclusion(outcome, decision.reason, decision.version)
    return Conclusion(delivery.FAILED, f"job {job}: a step {_words(status)}")


def _failed_test(log):
    """Return pytest's line about the first test that failed, for the person who pushed."""
    lines = (line for line in log.last_lines if line.startswith(("FAILED ", "ERROR ")))
    return f"a test failed: {next(lines, '- see the log of the job').partition(' ')[2]}"


def _decision(path):
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Decision)
    except (OSError, msgspec.DecodeError):
        return None


def _statuses(folder, job):
    try:
        rows = [line.split() for line in (folder / "statuses").read_text().splitlines()]
    except OSError:
        return []
    return [int(row[1]) for row in rows if len(row) == 2 and row[0] == job and row[1].isdigit()]


def _words(status):
    """Say how a process ended. bash adds 128 to the signal that ended a command.

    >>> _words(137), _words(-9), _words(1)
    ('was killed (SIGKILL)', 'was killed (SIGKILL)', 'ended with exit status 1')
    """
    number = -status if status < 0 else status - 128
    try:
        return f"was killed ({signal.Signals(number).name})"
    except ValueError:
        return f"ended with exit status {status}"

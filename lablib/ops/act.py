"""Run a workflow with `act`, which runs the files of GitHub Actions: here on this computer itself.

https://github.com/nektos/act. In this mode ("self-hosted") it needs neither Docker nor a network,
as long as the only action is actions/checkout, which it replaces by a copy of the work tree.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

from lablib.computer.end_with_parent import end_with_parent
from lablib.ops import workflow_file
from lablib.ops.event_log import EventLog

NAME = "act"
_LONGEST_LINE = 1 << 20
_OPTIONS = ["-P", "ubuntu-latest=-self-hosted", "--no-cache-server", "--json"]
_STATES = {"success": "succeeded", "failure": "failed", "skipped": "skipped"}


def find() -> str | None:
    """Return the path of `act`: beside Python, where pip installs it, or on PATH."""
    beside = str(Path(sys.executable).parent)
    return shutil.which("act", path=beside) or shutil.which("act")


async def run(source: Path, environment: dict[str, str], folder: Path, log: EventLog) -> int:
    """Run the workflow of a clone, write what happens to the log, and return act's exit status.

    folder   for act's own files, which otherwise would be in the home folder
    """
    own = {
        "DOCKER_HOST": "unix:///nonexistent",  # or act would use a Docker daemon that it finds
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
    }
    process = await asyncio.create_subprocess_exec(
        find(), "push", "-W", workflow_file.PATH, *_OPTIONS,
        cwd=source, env=environment | own, limit=_LONGEST_LINE, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        preexec_fn=partial(end_with_parent, os.getpid()),
    )  # fmt: skip
    try:
        while line := await process.stdout.readline():
            _note(line.decode(errors="replace").rstrip(), log)
        return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _note(line, log):
    try:
        event = json.loads(line)
        job = event.get("jobID")
        framework = (event.get("matrix") or {}).get("framework")
    except (ValueError, AttributeError):
        log.line(None, None, line)  # not from a job
        return
    if job is None:
        return
    log.job(job, framework, _STATES.get(event.get("jobResult"), "running"))
    if event.get("raw_output") or event.get("level") == "error":
        for text in str(event.get("msg", "")).splitlines():
            log.line(job, framework, text)

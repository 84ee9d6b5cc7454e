"""What a job of the pipeline reports: its decision as JSON, its outputs, its exit status.

The workflow's runner sets these variables: PIPELINE_STATE (the folder `state`), PIPELINE_RUN (the
folder of this run, for `reason.json`) and, as on the hosted service, GITHUB_SHA and GITHUB_OUTPUT.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from lablib.errors import LabError
from lablib.files import write_completely


def variable(name: str) -> str:
    """Return a variable that the runner sets. Raises LabError if it is not set."""
    if not os.environ.get(name):
        raise LabError(
            f"The variable {name} is not set.",
            saw="this program is a step of the pipeline",
            do='run it by pipeline.push("message")',
        )
    return os.environ[name]


def report(job: str, passed: bool, reason: str, version: int | None = None) -> int:
    """Print the reason, write `reason.json`, and return the exit status: 0 passed, 1 did not.

    version   becomes the job's output `version` if the job passed
    """
    print(reason)
    decision = {"job": job, "passed": passed, "reason": reason, "version": version}
    folder = Path(os.environ.get("PIPELINE_RUN", "."))
    write_completely(folder / "reason.json", json.dumps(decision, indent=1))
    if passed and version and "GITHUB_OUTPUT" in os.environ:
        with open(os.environ["GITHUB_OUTPUT"], "a") as outputs:
            outputs.write(f"version={version}\n")
    return 0 if passed else 1

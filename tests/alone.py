"""Run scripts of the tests, each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}
ATTEMPTS = 3


def printed_by(
    script: str, *arguments: str, settings: Mapping[str, str] = QUIET, timeout_s: float = 110
) -> Any:
    """Run a script of this folder and return the last line that it prints, parsed as JSON.

    settings   environment variables
    """
    path = os.pathsep.join([str(HERE.parent), str(HERE)])
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        env={**os.environ, **settings, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=timeout_s,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def in_the_usual_order(complaints: Callable[[int], Any]) -> Any:
    """Return the complaints about a process; if there are any, try a second and a third one.

    TensorFlow orders the operations of a graph differently in every process. About once in twenty,
    the order makes a fifth more memory necessary at once. Memory is compared with the usual order.

    complaints   number of the process -> complaints about its output
    """
    for attempt in range(ATTEMPTS):
        found = complaints(attempt)
        if not found:
            break
    return found

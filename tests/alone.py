"""Scripts of the tests, each in a process of its own."""

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


def printed_by(script: str, *arguments: str, settings: Mapping[str, str] = QUIET) -> Any:
    """What a script of this folder says in its last line, as JSON.

    settings   variables of its environment
    """
    path = os.pathsep.join([str(HERE.parent), str(HERE)])
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        env={**os.environ, **settings, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def in_the_usual_order(complaints: Callable[[int], Any]) -> Any:
    """What a first process is blamed for; if for something, a second one and a third.

    TensorFlow orders the operations of a graph anew in every process, and now and then (in one of
    some twenty) so that a fifth more is alive at once. Memory is held against the usual order.

    complaints   number of the process -> what is wrong with what it said
    """
    for attempt in range(ATTEMPTS):
        found = complaints(attempt)
        if not found:
            break
    return found

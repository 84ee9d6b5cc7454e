"""Install the packages of lab 06, which the kit's environment does not have from the start."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from lablib import progress_bars
from lablib.errors import LabError
from lablib.files import ROOT

PACKAGES = ("mlflow", "fastapi", "uvicorn", "prometheus_client")


def missing() -> list[str]:
    """Return which of the packages that the pipeline imports are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def install() -> None:
    """Install what the pipeline needs, if it is missing: MLflow, act, FastAPI and others.

    They take about 0.4 GB on the disk. pip's output and a progress bar are shown. If everything is
    there, this returns at once. Raises LabError if the packages cannot be installed, or if this
    Python is not that of the kit's folder .venv.
    """
    absent = missing()
    if not absent:
        return
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        raise LabError(
            "This notebook does not run in the kit's own environment, so nothing is installed.",
            saw=f"not installed: {', '.join(absent)}; Python is in {sys.prefix}",
            do=f'%pip install -c "{ROOT}/constraints.txt" -e "{ROOT}[ops]"',
        )
    print(f"Not installed: {', '.join(absent)}. Installing the packages of this lab, about 0.4 GB.")
    command = [sys.executable, "-P", str(ROOT / "setup_env.py"), "ops"]
    status = _run(command)
    importlib.invalidate_caches()
    if status or missing():
        raise LabError(
            "The packages of this lab could not be installed.",
            saw=f"exit status {status}; the messages are above",
            do="follow the message above, or in a terminal: "
            f"cd {ROOT} && .venv/bin/python setup_env.py ops",
        )


def _run(command):
    """Run it and show its output, with a bar that shows the time; return the exit status."""
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"PIP_PROGRESS_BAR": "off"},
    )  # fmt: skip
    with process, progress_bars.bar("installing") as bar:
        for line in process.stdout:
            print(line, end="")
            bar.refresh()
    return process.returncode

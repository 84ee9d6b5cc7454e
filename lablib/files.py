"""Where the kit keeps the files that it writes for its user."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def home(root: Path = ROOT) -> Path:
    """Return the folder `.lablib`: logs of failed runs, points, which labs were copied.

    root   a folder with the kit; `.lablib` is in it. The environment variable LABLIB_HOME names
           another folder for the kit that runs.
    """
    elsewhere = os.environ.get("LABLIB_HOME") if root == ROOT else None
    return Path(elsewhere or root / ".lablib")

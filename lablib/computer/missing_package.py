"""Explain that this Python lacks a package, and which Python has it."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from lablib.computer.facts import ROOT
from lablib.errors import LabError


class PackageMissing(LabError, ModuleNotFoundError):
    """This Python lacks a package that the kit needs; `name` is its name."""


def explained(name: str, arguments: Sequence[str] | None = None) -> PackageMissing:
    """Return the error for a user whose Python does not have the package `name`.

    arguments   what the user typed after `python -m lablib`; None: the user imported lablib
    """
    wrong = "This Python does not have a package that the kit needs."
    environment = ROOT / ".venv"
    python = str(environment / "bin" / "python")
    if Path(sys.prefix) == environment:
        wrong = "A package is missing from the kit's environment."
        do = f"install it: cd {ROOT} && .venv/bin/python -m pip install -c constraints.txt -e ."
    elif arguments is None:
        do = f"use the Python of the kit's environment, also as a notebook's kernel: {python}"
    else:
        typed = shlex.join([python, "-m", "lablib", *arguments])
        do = f"use the Python of the kit's environment: {typed}"
    if not environment.exists():
        do = f"make the environment: cd {ROOT} && make environment. Then {do}"
    saw = f"no module {name!r} in {sys.executable} (Python {platform.python_version()})"
    error = PackageMissing(wrong, saw=saw, do=do)
    error.name = name
    return error

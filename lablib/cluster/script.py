"""Run a program that was written for `torchrun`, or for TF_CONFIG, on the ranks of a cluster."""

from __future__ import annotations

import ast
import importlib.machinery
import os
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from lablib import frameworks
from lablib.errors import LabError

# What torchrun sets in addition to RANK, WORLD_SIZE and so on, with its defaults:
# https://docs.pytorch.org/docs/stable/elastic/run.html
_OF_TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "0",
    "TORCHELASTIC_MAX_RESTARTS": "0",
    "ROLE_NAME": "default",
}
_BY_PACKAGE = {package: each.name for each in frameworks.EVERY for package in each.packages}


@dataclass(frozen=True)
class Script:
    """A program that each rank runs as its `__main__`, with the arguments in `sys.argv`.

    path     the file; or, if `module` is true, the dotted name of a module, as after `python -m`
    folder   the first folder of the import path: the file's own, or for a module the current one
    """

    path: str
    arguments: tuple[str, ...]
    folder: str
    module: bool = False

    def __call__(self, me: object) -> None:
        sys.argv = [self.path, *self.arguments]
        sys.path.insert(0, self.folder)
        os.environ.update(_launcher_names(os.environ))
        try:
            self._run()
        except SystemExit as left:
            if left.code not in (None, 0):
                raise

    def _run(self):
        if self.module:
            runpy.run_module(self.path, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(self.path, run_name="__main__")


def script(path: str | os.PathLike, arguments: Sequence[str] = (), module: bool = False) -> Script:
    """Return the program for `Cluster.run`.

    arguments   arguments of the program; numbers become text

    Raises LabError if there is no such file or module, or if the file is not a program.
    """
    path, given = os.fspath(path), tuple(map(str, arguments))
    if module:
        folder = os.getcwd()
        _check_module(path, folder)
        return Script(path, given, folder, module=True)
    path = os.path.abspath(path)
    _parsed(path)
    return Script(path, given, os.path.dirname(path))


def framework_of(program: Script) -> str:
    """Return the framework that the program imports; torch if its own file imports neither."""
    if program.module:
        return frameworks.DEFAULT
    names = (name for node in ast.walk(_parsed(program.path)) for name in _imported(node))
    found = (_BY_PACKAGE[name] for name in names if name in _BY_PACKAGE)
    return next(found, frameworks.DEFAULT)


def _launcher_names(environment):
    """Return the names that torchrun sets, for a rank that has a RANK."""
    if "RANK" not in environment:
        return {}
    roles = {"ROLE_RANK": environment["RANK"], "ROLE_WORLD_SIZE": environment["WORLD_SIZE"]}
    nodes = int(environment["WORLD_SIZE"]) // int(environment["LOCAL_WORLD_SIZE"])
    return _OF_TORCHRUN | roles | {"GROUP_WORLD_SIZE": str(max(1, nodes))}


def _parsed(path):
    try:
        with open(path, "rb") as file:
            return ast.parse(file.read(), path)
    except OSError as error:
        why, do = error.strerror, "check the path; it is relative to the current folder"
    except (SyntaxError, ValueError) as error:
        why = f"{error}"
        do = "correct the program, or give the path of a Python file"
    raise LabError("The program cannot be read.", saw=f"{path}: {why}", do=do)


def _check_module(name, folder):
    here = [folder, *sys.path]
    spec = None
    for part in range(1, name.count(".") + 2):
        parent = ".".join(name.split(".")[:part])
        spec = importlib.machinery.PathFinder.find_spec(parent, here)
        here = list(spec.submodule_search_locations or ()) if spec else []
    if spec is None:
        raise LabError(
            "There is no such module.",
            saw=f"{name!r}, looked for in {folder} and where Python looks for packages",
            do="start from the folder that contains its package, as with `python -m`",
        )


def _imported(node):
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module.partition(".")[0]]
    return []

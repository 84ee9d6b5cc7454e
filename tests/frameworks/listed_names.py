"""Check the list of names in a framework's compat.py, and print what is wrong: a JSON string, "" if
nothing is.

Arguments: the framework, "check" or "join", and names that are removed before that.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import sys

from lablib.errors import LabError
from lablib.record.recorder import Recorder


def removed(path):
    owner, _, name = path.rpartition("." if "." in path.partition(":")[2] else ":")
    delattr(pkgutil.resolve_name(owner), name)


def joins(framework):
    join = importlib.import_module(f"lablib.frameworks.{framework}.recorder").join
    join(Recorder(), **dict.fromkeys([*inspect.signature(join).parameters][1:]))


def complaint(framework, what, paths) -> str:
    names = importlib.import_module(f"lablib.frameworks.{framework}.compat").NAMES
    for path in names.reasons:
        names.find(path)  # also in modules that are not loaded yet
    for path in paths:
        removed(path)
    try:
        joins(framework) if what == "join" else names.check()
    except LabError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    print(json.dumps(complaint(*sys.argv[1:3], sys.argv[3:])))

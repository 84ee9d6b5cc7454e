"""Ways to train in parallel, one a file: each has a `STRATEGY` that describes it and a `train`.

A file is found by being there: `torch/` and `tensorflow/` hold one for each way.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType

from lablib.errors import LabError
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import FAMILIES, Job, Strategy

__all__ = ["FAMILIES", "Expected", "Job", "Strategy", "get", "names"]

_FRAMEWORKS = ("torch", "tensorflow")


def names(framework: str | None = None) -> list[str]:
    """The strategies of a framework, or of both; a name in both stands once.

    >>> {"single", "ddp", "gpipe"} <= set(names("torch"))
    True
    """
    return sorted({name for name, of in _modules() if framework in (None, of)})


def get(name: str, framework: str | None = None) -> ModuleType:
    """The strategy's module, with `STRATEGY` and `train(me, job)`.

    framework   None: the strategy's own; torch where both have one of that name

    Raises LabError for an unknown name, and for a strategy of the other framework.
    """
    found = {of: module for (known, of), module in _modules().items() if known == name}
    if framework is None and found:
        return found.get("torch") or found["tensorflow"]
    if framework in found:
        return found[framework]
    if found:
        raise LabError(
            f"{name} is a strategy of {next(iter(found))}.",
            saw=f"framework={framework!r}",
            do=f"leave framework away, or choose of {', '.join(names(framework))}",
        )
    near = difflib.get_close_matches(str(name), names(), n=1)
    raise LabError(
        "There is no such strategy.",
        saw=f"{name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        do=f"choose of {', '.join(names(framework))}",
    )


@cache
def _modules():
    """(name, framework) -> module. None of them imports its framework before it trains."""
    here = Path(__file__).parent
    return {
        (found.name, framework): importlib.import_module(f"{__name__}.{framework}.{found.name}")
        for framework in _FRAMEWORKS
        for found in pkgutil.iter_modules([str(here / framework)])
    }

"""Strategies, one in each file: `STRATEGY` describes the strategy, and `train` carries it out.

All files in `torch/` and `tensorflow/` are found automatically. Strategies that answer an exercise
are in solutions/strategies, which learners do not receive. If that folder exists, it is a part of
this package.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from types import ModuleType

from lablib import frameworks
from lablib.computer.facts import ROOT
from lablib.errors import LabError, did_you_mean
from lablib.strategies.expected import Expected
from lablib.strategies.own import OwnStrategy, own_strategy
from lablib.strategies.strategy import FAMILIES, Job, Strategy

__all__ = ["FAMILIES", "Expected", "Job", "Strategy", "get", "names"]

__path__.append(str(ROOT / "solutions/strategies"))


def names(framework: str | None = None) -> list[str]:
    """Return the strategies of a framework, or of both; each name occurs once.

    >>> {"single", "ddp", "gpipe"} <= set(names("torch"))
    True
    """
    return sorted({name for name, of in _modules() if framework in (None, of)})


def get(name: str | Callable, framework: str | None = None) -> ModuleType | OwnStrategy:
    """Return the strategy's module, with `STRATEGY` and `train(me, job)`.

    name        the name of a strategy, or a function like `train(me, job)`, for example from a cell
    framework   None: the strategy's own framework, or torch if both have a strategy of that name,
                or if it is a function

    Raises LabError for an unknown name, and for a strategy of the other framework.
    """
    if callable(name):
        return own_strategy(name, framework or "torch", names())
    found = {of: module for (known, of), module in _modules().items() if known == name}
    if framework is None and found:
        return next(found[of] for of in frameworks.NAMES if of in found)
    if framework in found:
        return found[framework]
    if found:
        raise LabError(
            f"{name} is a strategy for {next(iter(found))}.",
            saw=f"framework={framework!r}",
            do=f"omit framework, or choose one of {', '.join(names(framework))}",
        )
    near = did_you_mean(name, names())
    raise LabError(
        "There is no such strategy.",
        saw="; ".join(filter(None, [repr(name), near])),
        do=f"choose one of {', '.join(names(framework))}",
    )


@cache
def _modules():
    """Return {(name, framework): module}. No module imports its framework before it trains."""
    packages = {of: importlib.import_module(f"{__name__}.{of}") for of in frameworks.NAMES}
    return {
        (found.name, of): importlib.import_module(f"{package.__name__}.{found.name}")
        for of, package in packages.items()
        for found in pkgutil.iter_modules(package.__path__)
    }

"""Functions of a framework that a rank on modelled hardware may not call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lablib.errors import LabError


def forbid(module: Any, names: Iterable[str], what: str) -> None:
    """From now on those functions of the module raise LabError.

    what   why: what they do has no program that could be played
    """
    for name in names:
        setattr(module, name, _refusal(name, what))


def _refusal(name, what):
    def refused(*_, **__):
        raise LabError(
            f"{name} cannot be used on modelled hardware.",
            saw=what,
            do="leave hardware away: the run is then measured on this computer",
        )

    return refused

"""What a rank refuses: functions of a framework, for example on modelled hardware; its server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lablib.errors import LabError

_MODELLED = "on modelled hardware"
_MEASURE = "leave hardware out: the run is then measured on this computer"


class ServerNotStarted(Exception):
    """TensorFlow's server of this rank did not start, for example because its port was taken."""


def forbid(
    module: Any, names: Iterable[str], what: str, where: str = _MODELLED, do: str = _MEASURE
) -> None:
    """From now on those functions of the module raise LabError.

    what    why: for example that nothing is known about what they do
    where   the ranks that may not call them, and `do` what to do instead
    """
    for name in names:
        setattr(module, name, _refusal(name, what, where, do))


def _refusal(name, what, where, do):
    def refused(*_, **__):
        raise LabError(f"{name} cannot be used {where}.", saw=what, do=do)

    return refused

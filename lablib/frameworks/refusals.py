"""What a rank refuses: functions of a framework, for example on modelled hardware; its server."""

from __future__ import annotations

from collections.abc import Callable

from lablib.errors import LabError

_MODELLED = "on modelled hardware"
_MEASURE = "leave hardware out: the run is then measured on this computer"


class ServerNotStarted(Exception):
    """TensorFlow's server of this rank did not start, for example because its port was taken."""


def refusal(name: str, what: str, where: str = _MODELLED, do: str = _MEASURE) -> Callable:
    """Return a function that takes the place of function `name` and raises LabError.

    what    why: for example that nothing is known about what it does
    where   the ranks that may not call it, and `do` what to do instead
    """

    def refused(*_, **__):
        raise LabError(f"{name} cannot be used {where}.", saw=what, do=do)

    return refused

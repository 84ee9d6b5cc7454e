"""Make functions that raise an error instead of a framework's, such as on modelled hardware."""

from __future__ import annotations

from collections.abc import Callable

from lablib.errors import LabError

_MODELLED = "on modelled hardware"
_MEASURE = "omit hardware, so that the run is measured on this computer"


class ServerNotStarted(Exception):
    """TensorFlow's server of this rank did not start, for example because its port was taken."""


def refusal(name: str, what: str, where: str = _MODELLED, do: str = _MEASURE) -> Callable:
    """Return a function that replaces the function `name` and raises LabError.

    what    the reason, for example that the kit does not know what the function does
    where   the ranks that may not call it
    do      what to do instead
    """

    def refused(*_, **__):
        raise LabError(f"{name} cannot be used {where}.", saw=what, do=do)

    return refused

"""After a deployment that was killed: drop the challenger, so that the champion answers alone."""

from __future__ import annotations

import contextlib

from lablib.errors import LabError
from lablib.ops import client
from lablib.ops.registry import Registry


def main(arguments: list[str]) -> None:
    """Settle the pipeline whose folder `state` is the only argument."""
    (state,) = arguments
    Registry(state).drop_challenger()
    with contextlib.suppress(LabError):  # the server was killed, too: a new one reads the aliases
        client.reload(state)

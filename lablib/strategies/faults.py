"""Cause faults on purpose: a rank dies at a given step, as if its machine had failed."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from lablib.errors import LabError, is_whole


def strike(fail_at: Mapping[str, int] | None, me, step: int) -> None:
    """End this rank with SIGKILL if `fail_at` names it and this step.

    fail_at   {"rank": 0, "step": 2}; None: no rank dies

    Raises LabError if `fail_at` is not a rank and a step, or the rank does not exist.
    """
    if fail_at is None:
        return
    _check(fail_at, me.ranks)
    if (me.rank, step) == (fail_at["rank"], fail_at["step"]):
        os.kill(os.getpid(), signal.SIGKILL)


def _check(fail_at, ranks):
    named = isinstance(fail_at, Mapping) and fail_at.keys() == {"rank", "step"}
    # A fault that cannot happen would look as if the rank had survived it.
    if not named or not all(map(is_whole, fail_at.values())) or fail_at["rank"] >= ranks:
        raise LabError(
            "fail_at must name a rank and the step at which it fails.",
            saw=f"fail_at={fail_at!r}, {ranks} ranks",
            do='write, for example, fail_at={"rank": 0, "step": 2}',
        )

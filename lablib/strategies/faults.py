"""Faults on purpose: a rank dies at a step, as it would when its machine does."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from lablib.errors import LabError, is_whole


def strike(fail_at: Mapping[str, int] | None, me, step: int) -> None:
    """End this rank with SIGKILL when it is the one named, at the step named.

    fail_at   {"rank": 0, "step": 2}; None: nobody dies
    """
    if fail_at is None:
        return
    _check(fail_at, me.ranks)
    if (me.rank, step) == (fail_at["rank"], fail_at["step"]):
        os.kill(os.getpid(), signal.SIGKILL)


def _check(fail_at, ranks):
    named = isinstance(fail_at, Mapping) and fail_at.keys() == {"rank", "step"}
    # A fault that cannot happen would look like a rank that survived it.
    if not named or not all(map(is_whole, fail_at.values())) or fail_at["rank"] >= ranks:
        raise LabError(
            "fail_at must name a rank and the step at which it fails.",
            saw=f"fail_at={fail_at!r}, {ranks} ranks",
            do='write, for example, fail_at={"rank": 0, "step": 2}',
        )

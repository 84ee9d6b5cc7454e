"""Whether other programs disturb a measurement, and how that is said.

Times that a busy computer measures are true, but they say little about the program that was
measured: it had to share the cores.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lablib.cluster.spec import threads_per_rank
from lablib.machine import cores

if TYPE_CHECKING:
    from lablib.cluster.run import Run

_SPARE_CORES = 0.25  # what an idle desktop uses
_ENOUGH_CPU = 0.7  # of the time in which a rank does not wait for messages
_LEAST_S = 0.05  # of computing; CPU clocks are too coarse for less


def other_cores(interval_s: float = 0.2) -> float:
    """Return how many cores are in use now. Call it while no rank of ours is working."""
    import psutil

    return psutil.cpu_percent(interval_s) / 100 * (psutil.cpu_count() or 1)


def too_busy(used_cores: float, needed_cores: int) -> str:
    """Return why these many used cores disturb a measurement on `needed_cores`; "" if they do not.

    >>> too_busy(0.1, needed_cores=1)
    ''
    """
    free = cores() - min(needed_cores, cores())
    if used_cores <= max(_SPARE_CORES, free):
        return ""
    return f"other programs used {used_cores:.1f} of {cores()} cores"


def cpu_share(run: Run, rank: int) -> float:
    """Return a rank's CPU seconds over the seconds in which it did not wait for messages.

    1 means that the rank always had a core when it needed one. NaN where that cannot be seen: on
    modelled hardware, in TensorFlow's graphs that contain messages, and with several TensorFlow
    threads, whose seconds are not CPU seconds.
    """
    torch = run.spec.framework == "torch"
    if run.hardware or not (torch or _threads(run) == 1):
        return math.nan
    rows = (row for row in run.records[rank]["rows"] if row[0] == "compute")
    cpu_s = sum(row[3] for row in rows)
    busy_s = run.metrics.compute_s[rank]
    waits_unknown = math.isnan(run.metrics.wait_s[rank])
    return math.nan if waits_unknown or busy_s < _LEAST_S else cpu_s / busy_s


def ranks_lacked_cores(run: Run) -> str:
    """Return what shows that ranks had to wait for a core; "" when nothing does.

    Ranks that have more threads than the computer has cores always take turns. That is no sign of
    other programs.
    """
    if run.spec.ranks * _threads(run) > cores():
        return ""
    shares = [cpu_share(run, rank) for rank in range(run.spec.ranks)]
    least = min((share for share in shares if share == share), default=1.0)
    if least >= _ENOUGH_CPU:
        return ""
    rank = shares.index(least)
    return f"rank {rank} had a core for only {least:.0%} of the time in which it was not waiting"


def _threads(run):
    return run.spec.threads or threads_per_rank(cores(), run.spec.ranks)

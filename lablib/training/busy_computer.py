"""Find out whether other programs disturb a measurement, and describe how.

Times measured on a busy computer are true, but they say little about the measured program, because
it had to share the cores.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lablib import frameworks
from lablib.cluster.spec import threads_per_rank
from lablib.computer.facts import cores
from lablib.record import intervals, metrics
from lablib.record.rows import Computed, StepBegun, StepEnded

if TYPE_CHECKING:
    from lablib.cluster.run import Run

_SPARE_CORES = 0.25  # what an idle desktop uses
_ENOUGH_CPU = 0.7  # share of the time in which a rank does not wait for messages
_LEAST_S = 0.05  # CPU clocks are too coarse for less computing


def other_cores(interval_s: float = 0.2) -> float:
    """Return how many cores are in use now. Call it while no rank of ours is working."""
    import psutil

    return psutil.cpu_percent(interval_s) / 100 * (psutil.cpu_count() or 1)


def too_busy(used_cores: float, needed_cores: int) -> str:
    """Return how programs that use this many cores disturb a measurement; "" if they do not.

    used_cores     cores that other programs use
    needed_cores   cores that the measurement needs

    >>> too_busy(0.1, needed_cores=1)
    ''
    """
    free = cores() - min(needed_cores, cores())
    if used_cores <= max(_SPARE_CORES, free):
        return ""
    return f"other programs used {used_cores:.1f} of {cores()} cores"


def cpu_share(run: Run, rank: int) -> float:
    """Return a rank's CPU seconds over the seconds in which it did not wait for messages.

    Only the steps after the first count. A share of 1 means that the rank always had a core when
    it needed one. In TensorFlow's graphs, waits cannot be observed, so the time in which a message
    was under way counts as waiting, and the true share may be smaller. Returns NaN if the share
    cannot be known: with fewer than two steps, on modelled hardware, if the times of messages were
    not observed, and with several TensorFlow threads, whose seconds are not CPU seconds.
    """
    part = run.trace.of(rank=rank)
    steps = [(event.start_s, event.end_s) for event in part.of(kind="step")][1:]
    in_cpu_seconds = frameworks.get(run.spec.framework).counts_cpu_seconds(_threads(run))
    if run.hardware or not in_cpu_seconds or any(event.derived for event in part):
        return math.nan
    kind = "wait" if metrics.waits_seen(run.trace) else "message"
    waits = [(event.start_s, event.end_s) for event in part.of(kind=kind)]
    busy_s = intervals.seconds(intervals.without(steps, waits))
    cpu_s = sum(_cpu_s_by_step(run.records[rank].rows)[1:])
    return cpu_s / busy_s if busy_s >= _LEAST_S else math.nan


def _cpu_s_by_step(rows):
    found, cpu_s = [], None  # None between the steps
    for row in rows:
        if isinstance(row, StepBegun):
            cpu_s = 0.0
        elif isinstance(row, Computed) and cpu_s is not None:
            cpu_s += row.cpu_s
        elif isinstance(row, StepEnded) and cpu_s is not None:
            found.append(cpu_s)
            cpu_s = None
    return found


def ranks_lacked_cores(run: Run) -> str:
    """Return which rank had to wait for a core; "" if none had to.

    If the ranks have more threads than the computer has cores, they always take turns, so waiting
    does not show that other programs are running.
    """
    if run.spec.ranks * _threads(run) > cores():
        return ""
    shares = [cpu_share(run, rank) for rank in range(run.spec.ranks)]
    least = min((share for share in shares if share == share), default=1.0)
    if least >= _ENOUGH_CPU:
        return ""
    rank = shares.index(least)
    return f"rank {rank} had a core for only {least:.0%} of the time in which it needed one"


def _threads(run):
    return run.spec.threads or threads_per_rank(cores(), run.spec.ranks)

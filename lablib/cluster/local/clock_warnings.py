"""Notice when a learner's line reads this computer's clock in a run on modelled hardware."""

from __future__ import annotations

import functools
import sys
import time

from lablib.record.learners_code import is_learners

_CLOCKS = ("perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "time", "time_ns")
_reads: list[list] = []


def notice() -> None:
    """From now on, remember the first line of the learner's code that reads a clock of `time`."""
    for name in _CLOCKS:
        setattr(time, name, _noticed(name, getattr(time, name)))


def reads() -> list[list]:
    """Return [clock, file, line] of the first read; empty if there was none."""
    return _reads


def _noticed(name, clock):
    @functools.wraps(clock)
    def read():
        if not _reads:
            caller = sys._getframe(1)
            if is_learners(caller.f_code.co_filename):
                _reads.append([name, caller.f_code.co_filename, caller.f_lineno])
        return clock()

    return read

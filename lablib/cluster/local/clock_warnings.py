"""Notice when a learner's line reads this computer's clock in a run on modelled hardware."""

from __future__ import annotations

import functools
import sys
import time
import timeit

from lablib.record.learners_code import is_learners

_CLOCKS = {
    time: (
        "perf_counter", "monotonic", "time", "process_time", "thread_time", "clock_gettime",
        "perf_counter_ns", "monotonic_ns", "time_ns", "process_time_ns", "clock_gettime_ns",
    ),
    timeit: ("default_timer", "timeit", "repeat"),
}  # fmt: skip
_reads: list[list] = []


def notice() -> None:
    """From now on, remember the first line of the learner's code that reads a clock."""
    for module, names in _CLOCKS.items():
        for name in names:
            setattr(module, name, _noticed(f"{module.__name__}.{name}", getattr(module, name)))


def reads() -> list[list]:
    """Return [clock, file, line] of the first read; empty if there was none."""
    return _reads


def _noticed(name, clock):
    @functools.wraps(clock)
    def read(*args, **options):
        if not _reads:
            caller = sys._getframe(1)
            if is_learners(caller.f_code.co_filename):
                _reads.append([name, caller.f_code.co_filename, caller.f_lineno])
        return clock(*args, **options)

    return read

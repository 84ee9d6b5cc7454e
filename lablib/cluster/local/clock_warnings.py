"""Notice when a learner's line reads this computer's clock in a run on modelled hardware."""

from __future__ import annotations

import datetime
import dis
import functools
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from types import FunctionType

from lablib.cluster.names_as_text import codes_inside
from lablib.record.learners_code import is_learners

_CLOCKS = {
    time: (
        "perf_counter", "monotonic", "time", "process_time", "thread_time", "clock_gettime",
        "perf_counter_ns", "monotonic_ns", "time_ns", "process_time_ns", "clock_gettime_ns",
    ),
    timeit: ("default_timer", "timeit", "repeat"),
}  # fmt: skip
_DATES = ("now", "utcnow", "today")
_reads: list[list] = []


def notice() -> None:
    """From now on, remember the first line of the learner's code that reads a clock."""
    for module, names in _CLOCKS.items():
        for name in names:
            setattr(module, name, _noticed(f"{module.__name__}.{name}", getattr(module, name)))


def look_for_dates(function: Callable) -> None:
    """Remember the first `datetime.now()` in the code of the function or of `__main__`.

    The methods of datetime cannot be replaced, so this looks at the code before it runs.
    """
    codes = (code for found in _functions(function) for code in codes_inside(found.__code__))
    for code in codes:
        steps = (step for step in dis.get_instructions(code) if step.argval in _DATES)
        for step in steps if is_learners(code.co_filename) and not _reads else ():
            if step.opname in ("LOAD_METHOD", "LOAD_ATTR"):
                name = f"datetime.{step.argval}"
                _reads.append([name, code.co_filename, step.positions.lineno])


def _functions(function) -> Iterator[FunctionType]:
    """Yield the functions of the notebook that have to do with datetime."""
    names = vars(sys.modules["__main__"])
    classes = [value for value in names.values() if isinstance(value, type)]
    methods = [method for found in classes for method in vars(found).values()]
    for found in (function, *names.values(), *methods):
        if isinstance(found, FunctionType):
            kinds = datetime, datetime.datetime, datetime.date
            known = any(found.__globals__.get(name) in kinds for name in found.__code__.co_names)
            if known or any("datetime" in code.co_names for code in codes_inside(found.__code__)):
                yield found


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

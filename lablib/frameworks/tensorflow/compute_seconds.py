"""Measure how long a TensorFlow rank computed, and divide the time among the parts of a graph."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence

from lablib.frameworks.tensorflow.graph import Compute, Issue, Wait


class ElapsedSeconds:
    """Return (no costs, seconds since the last call) when called.

    This is for ranks with several threads, whose CPU seconds would count parallel work several
    times.
    """

    holds_messages = True  # the seconds of a graph's call include those of its messages

    def __init__(self):
        self._last_s = self._now_s()

    def __call__(self) -> tuple[tuple, float]:
        before_s, self._last_s = self._last_s, self._now_s()
        return (), max(0.0, self._last_s - before_s)

    def _now_s(self):
        return time.monotonic()


class CpuSeconds(ElapsedSeconds):
    """Return (no costs, CPU seconds spent on computing since the last call) when called.

    This is for ranks with one thread in each pool. It counts the seconds of the main thread and of
    TensorFlow's pools, but not those of the threads that carry messages, because the link of a
    modelled machine represents them. If the system does not show threads (there is no /proc), it
    counts all of the process's seconds.
    """

    holds_messages = False
    _THREADS = "/proc/self/task"
    _POOLS = "tf_"

    def __init__(self):
        self._clocks = [time.CLOCK_PROCESS_CPUTIME_ID]
        self._threads = 0
        self._are_shown = os.path.isdir(self._THREADS)
        super().__init__()

    def _now_s(self):
        if self._are_shown:
            threads = os.stat(self._THREADS).st_nlink  # the number of threads, for one system call
            if threads != self._threads:
                self._threads = threads
                self._clocks = [*map(_clock, self._computing())]
        return sum(map(time.clock_gettime, self._clocks))

    def _computing(self):
        for thread in os.listdir(self._THREADS):
            try:
                with open(f"{self._THREADS}/{thread}/comm") as file:
                    if int(thread) == os.getpid() or file.read().startswith(self._POOLS):
                        yield int(thread)
            except OSError:
                continue  # the thread has ended in the meantime


def _clock(thread):
    """Return Linux's number of the clock of a thread's CPU seconds: see clock_getcpuclockid(3)."""
    return ~thread << 3 | 6


def shared(
    parts: Iterable, seconds: float, call: tuple[float, float], messages: Sequence[tuple]
) -> Iterator[tuple[object, float]]:
    """Yield each part of a graph's program with its share of the seconds that a call took.

    call       (start, end) of the call
    messages   (start, end) of each of its messages

    Operations do not report when they run. So the seconds are first divided among three times:
    before the first message, between messages, and after the last wait, in proportion to how long
    these were. Within each of these times, the Computes share in proportion to the bytes that they
    move.
    """
    parts = list(parts)
    stretches = _stretches(parts) if messages else (parts, [], [])
    passed_s = _passed_s(call, messages)
    weights = [[_weight(part) for part in stretch] for stretch in stretches]
    passed_s = [s if any(w) else 0.0 for s, w in zip(passed_s, weights)]
    if seconds and not any(passed_s):
        yield Compute(None, ()), seconds
    whole_s = sum(passed_s) or 1.0
    for stretch, weight, share_s in zip(stretches, weights, passed_s):
        each = seconds * share_s / whole_s / (sum(weight) or 1)
        yield from zip(stretch, (each * own for own in weight))


def _stretches(parts):
    """Return the parts before the first message, from there to the last wait, and after it."""
    first = next((n for n, part in enumerate(parts) if isinstance(part, Issue)), len(parts))
    last = max((n + 1 for n, part in enumerate(parts) if isinstance(part, Wait)), default=first)
    return parts[:first], parts[first:last], parts[last:]


def _passed_s(call, messages):
    if not messages:
        return call[1] - call[0], 0.0, 0.0
    first_s = min(start_s for start_s, _ in messages)
    last_s = max(end_s for _, end_s in messages)
    between_s = last_s - first_s - in_messages_s(messages)
    return [max(0.0, s) for s in (first_s - call[0], between_s, call[1] - last_s)]


def in_messages_s(messages: Iterable[tuple[float, float]]) -> float:
    """Return the seconds that are in at least one of the (start, end) pairs.

    >>> in_messages_s([(0, 2), (1, 3), (5, 6)])
    4.0
    """
    total_s, now_s = 0.0, float("-inf")
    for start_s, end_s in sorted(messages):
        total_s += max(0.0, end_s - max(start_s, now_s))
        now_s = max(now_s, end_s)
    return total_s


def _weight(part):
    costs = part.costs if isinstance(part, Compute) else ()
    return sum(nbytes * count for _, nbytes, _, count in costs)

"""Measure this computer as hardware on which runs can be replayed: `lab.Hardware.measure()`."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict

from lablib import frameworks
from lablib.cluster.cluster import Cluster
from lablib.computer.facts import memory_bytes
from lablib.errors import LabError, check_whole
from lablib.hardware.device import HOST, Device
from lablib.hardware.hardware import Hardware
from lablib.hardware.network import Link

_FLOATS = (2, 6 << 20)  # messages of 8 bytes and of 25 MB, which glibc still reuses after a free
_TIMES, _WARM_UP = 16, 6  # messages of each size; TensorFlow's first messages are slow
_WIDTH = 1024
_COPIED_BYTES = 64 << 20


def measure(framework: str = "torch", ranks: int = 2) -> Hardware:
    """Measure this computer in a few seconds. Do this while no other program is busy.

    framework   the framework whose messages are measured; the two differ much in speed
    ranks       how many processes share the cores; the result has room for as many ranks

    The link's alpha and beta are fitted to ring all-reduces of 8 bytes and of 25 MB. The FLOP/s
    are those of a matrix product and the bytes/s those of a copy, on each rank. The device's name
    is "host": its operations take the CPU seconds that a measured run recorded.
    """
    check_whole(2, ranks=ranks)
    with Cluster(ranks, framework=framework) as cluster:
        run = cluster.run(_rates)
    flop_per_s, bytes_per_s = (statistics.median(rates) for rates in zip(*run.values))
    device = Device(HOST, {"fp32": flop_per_s}, bytes_per_s, memory_bytes() / ranks)
    within = _fitted(_seconds_by_size(run.trace), ranks)
    return Hardware(device, per_node=ranks, within=within, all_reduce="ring", name="this computer")


def _seconds_by_size(trace) -> dict[int, float]:
    """Return each size's median seconds of an all-reduce, from the last rank's arrival."""
    by_rank = [
        [event for event in part.of(kind="message", name="all_reduce")]
        for part in trace.by_rank().values()
    ]
    seconds = defaultdict(list)
    for events in zip(*by_rank):
        start_s = max(event.start_s for event in events)
        seconds[events[0].nbytes].append(max(event.end_s for event in events) - start_s)
    return {nbytes: statistics.median(times[_WARM_UP:]) for nbytes, times in seconds.items()}


def _fitted(seconds_by_size, ranks) -> Link:
    """Fit alpha and B of 2 (R - 1)(alpha + n / (R B)) to the smallest and the largest message.

    The bytes of the smallest message take practically no time, so it gives alpha.
    """
    hops = 2 * (ranks - 1)
    smallest = min(seconds_by_size)
    largest = max(seconds_by_size)
    alpha_s = seconds_by_size[smallest] / hops
    moving_s = seconds_by_size[largest] - seconds_by_size[smallest]
    if moving_s <= 0:
        raise LabError(
            "This computer is too busy to be measured.",
            saw=f"{largest} bytes took no longer than {smallest}",
            do="stop other programs and measure again",
        )
    return Link(hops * largest / ranks / moving_s, alpha_s)


def _rates(me):
    """FLOP/s and bytes/s of this rank; its all-reduces are in the trace."""
    work = frameworks.get(me.framework).timed_work()
    flops_s = _fastest_s(work.product(_WIDTH))
    copy_s = _fastest_s(work.copy(_COPIED_BYTES))
    for all_reduce in map(work.all_reduce, _FLOATS):
        for _ in range(_TIMES):
            all_reduce()
    return 2 * _WIDTH**3 / flops_s, 2 * _COPIED_BYTES / copy_s


def _fastest_s(work) -> float:
    """Return the best time of a few tries, because only other programs can make a try slower."""
    times = []
    for _ in range(5):
        start_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - start_s)
    return min(times)

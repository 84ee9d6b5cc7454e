"""Measures this computer, as hardware that runs can be played on: `lab.Hardware.measure()`."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict

from lablib.cluster.cluster import Cluster
from lablib.computer.facts import memory_bytes
from lablib.errors import LabError, check_whole
from lablib.hardware.device import HOST, Device
from lablib.hardware.hardware import Hardware
from lablib.hardware.network import Link

_FLOATS = (2, 6 << 20)  # of the messages: 8 bytes and 25 MB, what glibc still reuses after a free
_TIMES, _WARM_UP = 16, 6  # each; TensorFlow's channels take some messages to get fast
_WIDTH = 1024
_COPIED_BYTES = 64 << 20


def measure(framework: str = "torch", ranks: int = 2) -> Hardware:
    """This computer, measured now in a few seconds; best when it has nothing else to do.

    framework   whose messages are measured: their speeds differ much on one loopback
    ranks       how many processes work at once, sharing the cores; so many fit afterwards

    The link's alpha and beta are those of all-reduces of 8 bytes and of 25 MB, as a ring's; FLOP/s
    are those of a matrix product, bytes/s those of a copy, of each of the ranks. The device's name
    is "host": its operations take the CPU seconds that a measured run recorded.
    """
    check_whole(2, ranks=ranks)
    job = {"torch": _in_torch, "tensorflow": _in_tensorflow}.get(framework)
    with Cluster(ranks, framework=framework) as cluster:
        run = cluster.run(job)
    flop_per_s, bytes_per_s = (statistics.median(rates) for rates in zip(*run.values))
    device = Device(HOST, {"fp32": flop_per_s}, bytes_per_s, memory_bytes() / ranks)
    within = _fitted(_seconds_by_size(run.trace), ranks)
    return Hardware(device, per_node=ranks, within=within, all_reduce="ring", name="this computer")


def _seconds_by_size(trace) -> dict[int, float]:
    """Median seconds of each size's all-reduces, from when the last rank was there."""
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
    """alpha and beta of 2 (R - 1)(alpha + n / (R B)): alpha from the smallest message, whose bytes
    take no time, beta from what the largest takes beyond that."""
    hops = 2 * (ranks - 1)
    smallest, largest = min(seconds_by_size), max(seconds_by_size)
    alpha_s = seconds_by_size[smallest] / hops
    moving_s = seconds_by_size[largest] - seconds_by_size[smallest]
    if moving_s <= 0:
        raise LabError(
            "This computer is too busy to be measured.",
            saw=f"{largest} bytes took no longer than {smallest}",
            do="end what else is running, and measure again",
        )
    return Link(hops * largest / ranks / moving_s, alpha_s)


def _in_torch(me):
    import torch
    import torch.distributed as dist

    a = torch.ones(_WIDTH, _WIDTH)
    flops_s = _fastest_s(lambda: a @ a)
    b = torch.ones(_COPIED_BYTES // 4)
    copy_s = _fastest_s(b.clone)
    for x in map(torch.ones, _FLOATS):
        for _ in range(_TIMES):
            dist.all_reduce(x)
    return 2 * _WIDTH**3 / flops_s, 2 * _COPIED_BYTES / copy_s


def _in_tensorflow(me):
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    a = tf.ones((_WIDTH, _WIDTH))
    flops_s = _fastest_s(lambda: tf.matmul(a, a).numpy())
    b = tf.ones(_COPIED_BYTES // 4)
    copy_s = _fastest_s(lambda: tf.identity(b + 0.0).numpy())

    def summed(x):
        return tf.distribute.get_replica_context().all_reduce("sum", tf.identity(x))

    reduce = tf.function(lambda x: strategy.run(summed, args=(x,)))
    for x in map(tf.ones, _FLOATS):
        for _ in range(_TIMES):
            reduce(x)
    return 2 * _WIDTH**3 / flops_s, 2 * _COPIED_BYTES / copy_s


def _fastest_s(work) -> float:
    """The best of a few tries: what the others took more is other people's doing."""
    times = []
    for _ in range(5):
        start_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - start_s)
    return min(times)

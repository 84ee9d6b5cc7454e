"""Measure the cost of the box: a run in it and one outside, and what a hang costs beyond its limit.

python benchmarks/box.py
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from statistics import median

import cloudpickle
from _paired import Claim, in_turn, ratio, refusal, report, spread

import lablib as lab
from lablib.box.box import Box, containment
from lablib.box.limits import Limits

RANKS, PAIRS, HANGS = 4, 15, 3
LIMITS = Limits(timeout_s=3, cpu_s=100)
MOST_OVER_S = 2


def sums_in_torch(me):
    import torch
    import torch.distributed as dist

    dist.all_reduce(torch.full((1000,), float(me.rank)))


def sums_in_tensorflow(me):
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    @tf.function
    def summed(x):
        def add(x):
            return tf.distribute.get_replica_context().all_reduce("sum", tf.identity(x))

        return strategy.run(add, args=(x,))

    summed(tf.fill([1000], float(me.rank)))


def sleeps(me):
    time.sleep(1000)


def ignores_every_signal(me):
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass


def forks_without_end(me):
    while True:
        try:
            os.fork()
        except OSError:
            pass


def runs_on_44_processes(me):
    """4 ranks with 11 processes each: a fork bomb below its limit; only the time limit ends it."""
    for _ in range(10):
        if os.fork() == 0:
            break
    while True:
        pass


SUMS = {"torch": sums_in_torch, "tensorflow": sums_in_tensorflow}
ATTACKS = (sleeps, ignores_every_signal, forks_without_end, runs_on_44_processes)


def main() -> int:
    # There are no benchmarks in the box, so their functions must be pickled by value.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    tier, name = containment()
    claims, notes = [], [f"tier {tier}, {name}; a hang may take {LIMITS.timeout_s} s"]
    for framework, function in SUMS.items():
        with Box(framework, limits=LIMITS, tier=tier) as box:
            measure_a_run(framework, function, box, claims, notes)
            measure_hangs(framework, box, claims, notes)
    return report("What the box costs", claims, notes, refusal())


def measure_a_run(framework, function, box, claims, notes):
    cluster, limits = lab.Cluster(RANKS, framework=framework), replace(LIMITS, timeout_s=60)

    def in_the_box():
        done = box.run(function, RANKS, limits=limits)
        assert done.status == "ok", done

    in_the_box(), cluster.run(function)
    boxed, open_air = in_turn(in_the_box, lambda: cluster.run(function), PAIRS)
    notes.append(f"{framework}: in the box {spread(boxed)}, in the open {spread(open_air)}")
    text = f"{framework}: a run in the box over the same one in the open"
    claims.append(Claim(text, ratio(boxed, open_air), 3))


def measure_hangs(framework, box, claims, notes):
    for attack in ATTACKS:
        statuses, over_s = zip(*(cost(box, attack) for _ in range(HANGS)))
        notes.append(
            f"{framework}: {attack.__name__} ends as {'/'.join(sorted(set(statuses)))}, median "
            f"{median(over_s):+.2f} s beside its limit ({min(over_s):+.2f} to {max(over_s):+.2f})"
        )
        text = f"{framework}: seconds over its limit, at worst: {attack.__name__}"
        claims.append(Claim(text, max(over_s), MOST_OVER_S))


def cost(box, attack):
    """Return how the run ended, and the seconds beyond its limit until the next run could start."""
    start_s = time.perf_counter()
    done = box.run(attack, RANKS)
    over_s = time.perf_counter() - start_s - LIMITS.timeout_s
    assert done.status != "ok", done
    return done.status, over_s


if __name__ == "__main__":
    sys.exit(main())

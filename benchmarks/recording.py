"""Measure the cost of recording a message: the same messages with the recorder and without it.

python benchmarks/recording.py
"""

from __future__ import annotations

import sys
from functools import partial
from statistics import median

from _paired import Claim, refusal, report

import lablib as lab

MESSAGES, PAIRS = 2000, 7


def torch_messages(me, under_way):
    """Return microseconds of a message, recorded and bare in turn, on one rank."""
    import time

    import torch
    import torch.distributed as dist

    bare = dist.ProcessGroupGloo(dist.HashStore(), 0, 1)
    bare_group = dist.ProcessGroup(dist.HashStore(), 0, 1)
    kind = dist.ProcessGroup.BackendType.GLOO
    bare_group._register_backend(torch.device("cpu"), kind, bare)
    bare_group._set_default_backend(kind)
    x = torch.ones(1000)
    options = dist.AllreduceOptions()
    options.asyncOp = under_way > 1  # as dist.all_reduce sets it

    def each_us(group):
        start_s = time.perf_counter()
        for _ in range(MESSAGES // under_way):
            works = [group.allreduce([x], options) for _ in range(under_way)]
            for work in works:
                work.wait()
        return (time.perf_counter() - start_s) / MESSAGES * 1e6

    recorded = dist.group.WORLD
    return [(each_us(recorded), each_us(bare_group)) for _ in range(PAIRS)]


def tensorflow_messages(me):
    """Return the same for a graph of 20 collectives on one worker."""
    import time

    import tensorflow as tf
    from tensorflow.python.ops import collective_ops

    def graph(all_reduce):
        @tf.function
        def summed(x):
            for key in range(20):
                x = all_reduce(x, 1, 100, key + 1, merge_op="Add", final_op="Id")
            return x

        x = tf.ones([1000])
        summed(x)
        return lambda: summed(x)

    recorded = graph(collective_ops.all_reduce_v2)
    bare = graph(collective_ops.all_reduce_v2.__wrapped__)

    def each_us(run):
        start_s = time.perf_counter()
        for _ in range(MESSAGES // 20):
            run()
        return (time.perf_counter() - start_s) / MESSAGES * 1e6

    return [(each_us(recorded), each_us(bare)) for _ in range(PAIRS)]


def main():
    claims, notes = [], []
    kinds = [
        ("torch", "waited for at once", partial(torch_messages, under_way=1)),
        ("torch", "20 under way", partial(torch_messages, under_way=20)),
        ("tensorflow", "in a graph", tensorflow_messages),
    ]
    for framework, kind, work in kinds:
        pairs = lab.Cluster(1, framework=framework, threads=1).run(work).values[0]
        costs = sorted(recorded - bare for recorded, bare in pairs)
        bare_us = median(bare for _, bare in pairs)
        added = " ".join(f"{cost:.0f}" for cost in costs)
        notes.append(f"{framework}, {kind}: bare {bare_us:.0f} us, recording adds {added}")
        claims.append(Claim(f"{framework}, {kind}, us a recorded message", median(costs), 50))
    return report("cost of recording", claims, notes, refusal())


if __name__ == "__main__":
    sys.exit(main())

"""Functions that run on the ranks: good ones, and the ways in which a rank can fail."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time


def total(me):
    """The sum of the ranks' numbers, by the framework's own all-reduce."""
    if me.framework == "torch":
        import torch
        import torch.distributed as dist

        x = torch.full((1000,), float(me.rank))
        dist.all_reduce(x)
        return x[0].item()
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    @tf.function
    def summed(x):
        def add(x):
            return tf.distribute.get_replica_context().all_reduce("sum", tf.identity(x))

        return strategy.run(add, args=(x,))

    return float(summed(tf.fill([1000], float(me.rank)))[0])


def raises_on_rank_1(me):
    if me.rank == 1:
        raise ValueError("bad shard")
    return total(me)


def raises_on_all(me):
    raise ValueError(f"bad shard {me.rank}")


def exits_3(me):
    if me.rank == 1:
        sys.exit(3)
    return total(me)


def leaves_by_os_exit(me):
    if me.rank == 1:
        os._exit(0)
    return total(me)


def segfaults(me):
    if me.rank == 1:
        ctypes.string_at(0)
    return total(me)


def is_killed(me):
    if me.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return total(me)


def returns_a_lock(me):
    import threading

    return threading.Lock()


def ignores_sigterm(me):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if me.rank == 0:
        raise ValueError("bad shard")
    while True:
        time.sleep(1)


def returns_early(me):
    if me.rank == 1:
        return None
    return total(me)


def both_receive(me):
    import torch
    import torch.distributed as dist

    dist.recv(torch.zeros(1), 1 - me.rank)


def mismatched(me):
    import torch
    import torch.distributed as dist

    if me.rank == 0:
        dist.all_reduce(torch.zeros(4))
    else:
        dist.broadcast(torch.zeros(4), 0)
        dist.all_reduce(torch.zeros(4))
        dist.barrier()
    dist.barrier()


def sleeps(me):
    time.sleep(600)


def prints_60_mb(me):
    line = "x" * 99
    for _ in range(600):
        print("\n".join([line] * 1000))
    return me.rank


def leaves_a_grandchild(me):
    command = "import time; time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", command], start_new_session=True)
    return child.pid


def who(me):
    return os.getpid()

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


def threads(me):
    import threadpoolctl

    pools = {pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
    if me.framework == "torch":
        import torch

        return pools | {torch.get_num_threads()}
    import tensorflow as tf

    return pools | {tf.config.threading.get_intra_op_parallelism_threads()}


def listens(me):
    """Addresses on which this process listens."""
    total(me)
    import psutil

    inet = psutil.Process().net_connections("inet")
    return sorted({c.laddr.ip for c in inet if c.status == psutil.CONN_LISTEN})


def tf_config(me):
    return os.environ["TF_CONFIG"]


def counts_on_parameter_servers(me):
    import tensorflow as tf

    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    with strategy.scope():
        count = tf.Variable(0.0)

    @tf.function
    def add_one():
        count.assign_add(1.0)

    for _ in range(5):
        coordinator.schedule(add_one)
    coordinator.join()
    return float(count.numpy())


def evaluates(me):
    return me.role


def steps(me):
    for step in range(3):
        with me.step(samples=8):
            total(me)
        me.log(loss=1.0 / (step + 1))
    me.mark("end")
    print("done", me.rank)
    return me.shard(list(range(7)))


def talks(me):
    """One message of each kind, with payloads of known size."""
    import torch
    import torch.distributed as dist

    x = torch.ones(10)
    dist.all_reduce(x)
    dist.broadcast(x, 0)
    dist.all_gather([torch.empty(10) for _ in range(me.ranks)], x)
    dist.reduce_scatter_single(torch.empty(10), torch.ones(10 * me.ranks))
    dist.all_to_all_single(torch.empty(10), x)
    dist.barrier()
    if me.rank == 0:
        dist.send(x, 1)
    elif me.rank == 1:
        dist.recv(x, 0)
    half = dist.new_group([0, 1])
    if me.rank < 2:
        dist.all_reduce(x, group=half)


def leaks(me):
    """Something that a second run would see if ranks were not fresh."""
    seen = hasattr(sys, "lablib_was_here")
    sys.lablib_was_here = True
    return seen

"""Functions that run on the ranks: good ones, and the ways in which a rank can fail."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


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


def raises_what_is_no_text(me):
    raise ValueError(os.fsdecode(b"shard \xff"))


def exits_3(me):
    if me.rank == 1:
        sys.exit(3)
    return total(me)


def leaves_by_os_exit(me):
    if me.rank == 1:
        os._exit(0)
    return total(me)


def leaves_its_socket_to_a_child(me):
    """The kernel hears of the death, and never of an end of what the rank says."""
    if me.rank == 1:
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
    return total(me)


def hangs_up_after_its_value(me):
    """The kernel can ask for the record of a rank that hears nobody any more, and lives."""
    from lablib.cluster import rank

    def hangs_up(sock):
        sock.close()
        time.sleep(1000)

    if me.rank == 1:
        rank._stay = hangs_up
    return me.rank


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


def _sums(me, body, times=None):
    """A step on a 64 x 64 matrix of ones, with MultiWorkerMirroredStrategy; its first element."""
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    def replica_step(x):
        def add(x):
            return tf.distribute.get_replica_context().all_reduce("sum", tf.identity(x))

        return body(tf, x, add)

    @tf.function
    def step(x):
        if times is None:
            return strategy.run(replica_step, args=(x,))
        for _ in tf.range(times):
            x = strategy.run(replica_step, args=(x,))
        return x

    x = tf.ones([64, 64])
    with me.step(samples=1):
        return float(step(x)[0, 0])


def sums_in_a_loop(me):
    return _sums(me, lambda tf, x, add: add(x @ tf.eye(64)), times=3)


def sums_two(me):
    return _sums(me, lambda tf, x, add: add(x) + add(2.0 * x))


def sums_a_sum(me):
    return _sums(me, lambda tf, x, add: add(2.0 * add(x)))


def makes_a_dtensor_mesh(me):
    import tensorflow as tf

    tf.experimental.dtensor.create_distributed_mesh([("batch", me.ranks)], num_global_devices=2)


def sums_by_a_raw_operation(me):
    import tensorflow as tf

    tf.distribute.MultiWorkerMirroredStrategy()
    keys = dict(group_size=me.ranks, group_key=7, instance_key=5, ordering_token=[])
    ways = dict(merge_op="Add", final_op="Id")
    return float(tf.raw_ops.CollectiveReduceV2(input=tf.ones(1), **keys, **ways)[0])


def threads_of_a_server(me):
    """That compute, by its settings; and that start operations, by what the system says of them."""
    import tensorflow as tf

    server = tf.distribute.Server.create_local_server()
    names = [task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir()]
    pools = server.server_def.default_session_config
    return pools.intra_op_parallelism_threads, names.count("tf_Compute\n")


def computes_elsewhere(me):
    """Rank 0 adds on rank 1."""
    import json

    import tensorflow as tf

    cluster = json.loads(os.environ["TF_CONFIG"])["cluster"]
    if me.rank > 0:
        me.server = tf.distribute.Server(cluster, job_name="worker", task_index=me.rank)
        return None
    tf.config.experimental_connect_to_cluster(
        tf.train.ClusterSpec(cluster), job_name="worker", task_index=0
    )
    with tf.device("/job:worker/task:1"):
        return float(tf.constant(1.0) + 1.0)

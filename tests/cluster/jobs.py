"""Functions that run on the ranks: some succeed, and the others fail in different ways."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def total(me):
    """Return the sum of the ranks' numbers, by the framework's own all-reduce."""
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
    """The kernel sees the death of this rank, but its socket stays open in a child."""
    if me.rank == 1:
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
    return total(me)


def hangs_up_after_its_value(me):
    """The kernel asks for the record of a rank that lives, but does not read any more."""
    from lablib.cluster.local import rank

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


def appends(folder, me):
    with open(folder / f"calls{me.rank}", "a") as file:
        file.write("called\n")
    return me.rank


def appends_then_raises(folder, text, me):
    appends(folder, me)
    print(text)
    raise RuntimeError(text)


def says_its_server_did_not_start(folder, me):
    from lablib.frameworks.refusals import ServerNotStarted

    appends(folder, me)
    raise ServerNotStarted("Could not start gRPC server")


def asks_for_much_memory(me):
    return bytearray(1 << 60)


def meets_a_full_disk(me):
    with open("/dev/full", "w") as file:
        file.write("x")


def is_as_it_came(me):
    raise NotImplementedError("not attempted yet")


def says_what_a_starter_says(me):
    raise ValueError("not attempted yet")


def calls_what_torch_lacks(me):
    import torch

    torch.linalg.qr(torch.eye(2).to_sparse())


def dies_while_others_wait(me):
    import torch
    import torch.distributed as dist

    dist.barrier()
    if me.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.recv(torch.zeros(1), 1)


def dies_while_others_send(me):
    """Send so much that the sender notices the broken connection while it sends."""
    import torch
    import torch.distributed as dist

    dist.barrier()
    if me.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        dist.isend(torch.zeros(1000), 1)


def dies_before_a_new_group(me):
    import torch.distributed as dist

    dist.barrier()
    if me.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.new_group([0, 1])
    dist.barrier()
    time.sleep(100)


def speaks_of_connections(me):
    """Rank 0 fails first; rank 1 fails later, and is not the cause."""
    if me.rank == 1:
        time.sleep(0.2)
        raise ValueError("too late")
    raise ValueError("Connection reset by peer, Broken pipe, Connection closed by peer")


def both_send_a_lot(me):
    """Send more than the connection can hold, so that each send waits for its recv."""
    import torch
    import torch.distributed as dist

    dist.send(torch.zeros(10_000_000), 1 - me.rank)


def different_tags(me):
    import torch
    import torch.distributed as dist

    if me.rank == 0:
        dist.recv(torch.zeros(1), 1, tag=7)
    else:
        dist.isend(torch.zeros(1), 0, tag=8)
        dist.recv(torch.zeros(1), 0)


def receives_from_one_that_ended(me):
    import torch
    import torch.distributed as dist

    if me.rank == 0:
        dist.recv(torch.zeros(1), 1)


def receives_beside_an_all_reduce(me):
    import torch
    import torch.distributed as dist

    if me.rank == 0:
        dist.recv(torch.zeros(1), 1)
    dist.all_reduce(torch.zeros(1))


def one_alone_makes_a_group(me):
    import torch.distributed as dist

    if me.rank == 0:
        dist.new_group([0, 1])


def one_makes_a_group_for_itself_first(me):
    import torch.distributed as dist

    if me.rank == 0:
        dist.new_group([0])
    dist.new_group([0, 1])


def one_makes_a_group_beside_an_all_reduce(me):
    import torch
    import torch.distributed as dist

    if me.rank == 0:
        dist.new_group()
    dist.all_reduce(torch.ones(1))


def one_makes_the_default_group_again(me):
    import torch.distributed as dist

    dist.destroy_process_group()
    if me.rank == 0:
        dist.init_process_group("gloo")


def makes_groups_without_the_others(me):
    import torch
    import torch.distributed as dist

    x = torch.ones(1)
    if me.rank == 0:
        dist.all_reduce(x, group=dist.new_group([0], use_local_synchronization=True))
    dist.all_reduce(x, group=dist.new_group([0, 1]))
    return x.item()


def two_orders_of_groups(me):
    import torch
    import torch.distributed as dist

    groups = [dist.new_group([0, 1]) for _ in range(2)]
    for group in groups if me.rank else reversed(groups):
        dist.all_reduce(torch.zeros(1), group=group)


def many_tags(me, count=10_000):
    """Send a message on each of `count` channels, in both directions."""
    import torch
    import torch.distributed as dist

    x = torch.zeros(1)
    for tag in range(count // 2):
        if me.rank == 0:
            dist.send(x, 1, tag=tag)
            dist.recv(x, 1, tag=tag)
        else:
            dist.recv(x, 0, tag=tag)
            dist.send(x, 0, tag=tag)
    return True


def hangs_after_many_tags(me):
    import torch
    import torch.distributed as dist

    with me.step():
        many_tags(me)
    me.log(at=1.0)
    dist.recv(torch.zeros(1), 1 - me.rank, tag=3)


def hangs_after_many_groups(me):
    import torch
    import torch.distributed as dist

    groups = [dist.new_group([0, 1]) for _ in range(200)]
    with me.step():
        for group in groups:
            dist.all_reduce(torch.zeros(1), group=group)
    me.log(at=1.0)
    dist.recv(torch.zeros(1), 1 - me.rank, group=groups[150])


def _sent(values):
    """Return the result of sending each value to the notebook."""
    from lablib.cluster.engine import wire

    found = {}
    for name, value in values.items():
        try:
            found[name] = "value", wire.unpack(wire.pack(value))
        except wire.CannotTravel as error:
            found[name] = "refused", str(error)
    return found


def values_of_torch(me):
    import dataclasses
    import datetime
    import warnings

    import numpy as np
    import pandas as pd
    import torch
    from torch._subclasses import FakeTensorMode
    from torch.distributed import _functional_collectives as functional
    from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

    warnings.simplefilter("ignore")  # warnings about prototypes
    x = torch.tensor([1.0, 1.5])
    mesh = init_device_mesh("cpu", (me.ranks,))
    with FakeTensorMode():
        fake = torch.ones(2)

    class Subclass(torch.Tensor):
        pass

    @dataclasses.dataclass
    class Point:
        x: int = 1

    return _sent({
        "bfloat16": x.bfloat16(), "float8": x.to(torch.float8_e4m3fn),
        "conjugate": torch.tensor([1 + 1j]).conj(), "a subclass": x.as_subclass(Subclass),
        "complex32": torch.tensor([1 + 1j]).to(torch.complex32),
        "a parameter": torch.nn.Parameter(x), "a size": torch.Size([1, 2]),
        "async": functional.all_reduce(torch.tensor([2.0]), "sum", mesh),
        "sparse": x.to_sparse(), "csr": torch.eye(2).to_sparse_csr(), "meta": x.to("meta"),
        "quantised": torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
        "nested": torch.nested.nested_tensor([x, x[:1]]), "fake": fake, "a dtype": x.dtype,
        "DTensor": distribute_tensor(x, mesh, [Shard(0)]), "a model": torch.nn.Linear(1, 1),
        "a frame": pd.DataFrame({"a": [1]}), "masked": np.ma.array([1, 2], mask=[0, 1]),
        "a date": datetime.date(2026, 1, 2), "a path": Path("a"), "a dataclass": Point(),
        "a class": int, "objects": np.array([object()]), "a set in a list": [{"a": x.to_sparse()}],
    })  # fmt: skip


def values_of_tensorflow(me):
    import keras
    import ml_dtypes
    import numpy as np
    import tensorflow as tf

    x = tf.constant([1.0, 1.5])
    return _sent({
        "bfloat16": tf.cast(x, tf.bfloat16), "of NumPy": np.array([1.0, 1.5], ml_dtypes.bfloat16),
        "a bfloat16 variable": tf.Variable(tf.cast(x, tf.bfloat16)),
        "a Keras variable": keras.Variable([1.0, 1.5]), "ragged": tf.ragged.constant([[1], [1, 2]]),
        "sparse": tf.sparse.from_dense([[1.0]]), "texts": tf.constant(["a", "b"]),
        "slices": tf.IndexedSlices(tf.ones((1, 2)), tf.constant([0])), "a dtype": x.dtype,
        "symbolic": keras.Input((2,)), "a shape": tf.TensorShape([1, None]),
        "a model": keras.Sequential([keras.layers.Dense(1)]), "a dataset": tf.data.Dataset.range(2),
    })  # fmt: skip


def returns_a_sparse_tensor(me):
    import torch

    return torch.eye(2).to_sparse()


def logs_a_sparse_tensor(me):
    import torch

    me.log(loss=torch.eye(2).to_sparse())


def asks_numpy_for_too_many(me):
    import numpy as np

    np.random.choice(2, size=3, replace=False)


def asks_for_input(me):
    return input("how many? ")  # here


def reads_bytes_from_the_keyboard(me):
    return sys.stdin.buffer.read()  # here


def reads_a_line_of_bytes(me):
    return next(iter(sys.stdin.buffer))  # here


def calls_breakpoint(me):
    breakpoint()  # here
    return 1


def calls_pdb(me):
    import pdb

    pdb.set_trace()  # here
    return 1


def calls_interact(me):
    import code

    code.interact()  # here


def reads_the_clock_of_timeit(me):
    from timeit import default_timer as timer

    return timer() > 0


def times_with_timeit(me):
    import timeit

    return timeit.timeit("1 + 1", number=1) >= 0


def reads_the_time_of_its_processor(me):
    return time.process_time() >= 0 and time.clock_gettime(time.CLOCK_MONOTONIC) > 0


def reads_the_date(me):
    import datetime

    return datetime.datetime.now().year > 2000


def reads_the_date_in_a_helper(me):
    from datetime import datetime as date_and_time

    def stamp():
        return date_and_time.utcnow().year

    return stamp() > 2000


class Plan:
    now = True


def reads_no_date(me):
    import datetime

    return Plan().now and datetime.timedelta(1).days == 1


def reads_the_clock(me):
    start_s = time.perf_counter()
    total(me)
    return time.perf_counter() - start_s


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
    """Return the addresses on which this process listens."""
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
    """Send one message of each kind, with payloads of known size."""
    import torch
    import torch.distributed as dist

    x = torch.ones(10)
    dist.all_reduce(x)
    dist.broadcast(x, 0)
    dist.all_gather([torch.empty(10) for _ in range(me.ranks)], x)
    dist.reduce_scatter_single(torch.empty(10), torch.ones(10 * me.ranks))
    dist.all_to_all_single(torch.empty(12), torch.ones(12))  # 3 for each of 4 ranks
    dist.barrier()
    if me.rank == 0:
        dist.send(x, 1)
    elif me.rank == 1:
        dist.recv(x, 0)
    half = dist.new_group([0, 1])
    if me.rank < 2:
        dist.all_reduce(x, group=half)


def leaks(me):
    """Change things that a second run would notice if ranks were not fresh."""
    seen = hasattr(sys, "lablib_was_here")
    sys.lablib_was_here = True
    return seen


def _sums(me, body, times=None):
    """Return the first element after a step on a 64 x 64 matrix of ones.

    The step uses MultiWorkerMirroredStrategy.
    """
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
    """Return the numbers of threads that compute, and that start operations.

    The first is from settings, the second is observed by the system.
    """
    import tensorflow as tf

    server = tf.distribute.Server.create_local_server()
    names = [task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir()]
    pools = server.server_def.default_session_config
    return pools.intra_op_parallelism_threads, names.count("tf_Compute\n")


def computes_elsewhere(me):
    """Let rank 0 add numbers on rank 1."""
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

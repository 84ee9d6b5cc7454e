"""Print, as JSON, the most bytes that serving ranks have asked TensorFlow's allocator for.

The result is by strategy and case, for each rank. A server's tensors are not counted otherwise, and
the function of a step does not run there.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

import allocations
from tensorflow_twins import drops_its_gradients

import lablib as lab
from lablib import strategies
from lablib.cluster.spec import Spec

STEPS = 4


def all_weights_on_the_first_device():
    from lablib.strategies.tensorflow import device_split

    placed = device_split.placed
    device_split.placed = lambda job, devices: placed(job, devices[:1] * len(devices))


# A task, ranks, options; for a broken twin also its change of lablib or Keras.
RUNS = {
    "device_split": [
        ("wide-mlp", 2, {}),
        ("wide-mlp", 4, {"micro_batches": 4}),
        ("digits-mlp", 4, {}),
        ("digits-mlp", 2, {"micro_batches": 4}),
        ("digits-cnn", 2, {}),
    ],
    "parameter_server": [
        ("wide-mlp", 4, {"synchronous": True}),
        ("wide-mlp", 3, {}),
        ("digits-mlp", 4, {}),
    ],
}
TWINS = {
    "device_split": ("wide-mlp", 2, {}, all_weights_on_the_first_device),
    "parameter_server": ("wide-mlp", 3, {}, drops_its_gradients),
}


def key(task, ranks, options, twin=None):
    return f"{task}, {ranks} ranks, {options}" + (f", {twin.__name__}" if twin else "")


def most_bytes(me, job, name, twin):
    """Return the most bytes of this rank, whatever its role is."""
    log, over = (Path(tempfile.gettempdir()) / f"{what}-{me.rank}" for what in ("log", "over"))
    os.mkfifo(over)
    if twin:
        twin()
    with allocations.logged(log):
        part_of(me, job, name)
        if me.rank == 0:
            for rank in range(1, me.ranks):
                over.with_name(f"over-{rank}").write_text("")
        else:
            over.read_text()  # returns when rank 0 has written the file
    (most,) = allocations.most_bytes(log)
    return most


def part_of(me, job, name):
    """Do this rank's part of the strategy; start servers as the kit does, but in a function."""
    import tensorflow as tf

    module = strategies.get(name, "tensorflow")
    if module.STRATEGY.roles:
        spec = in_roles(module, me.ranks)
        hosts = json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"]
        ports = [int(host.rpartition(":")[2]) for host in hosts]
        os.environ |= spec.environment(spec.seats[me.rank], ports)
        if me.rank:
            config = json.loads(os.environ["TF_CONFIG"])
            task = config["task"]
            me.server = tf.distribute.Server(
                config["cluster"], job_name=task["type"], task_index=task["index"]
            )
            return
    module.train(me, job)


def in_roles(module, ranks):
    return Spec.of(roles=module.STRATEGY.roles(ranks), framework="tensorflow")


def by_rank(name, task, ranks, options, twin=None):
    task, described = lab.tasks.get(task), strategies.get(name, "tensorflow").STRATEGY
    job = strategies.Job(task, STEPS, task.batch, options=described.chosen(options))
    cluster = lab.Cluster(ranks, framework="tensorflow", threads=1, timeout_s=100)
    return cluster.run(partial(most_bytes, job=job, name=name, twin=twin)).values


if __name__ == "__main__":
    chosen = sys.argv[1:] or RUNS
    cases = {name: [*RUNS[name], TWINS[name]] for name in chosen}
    print(json.dumps({
        name: {key(*run): by_rank(name, *run) for run in runs} for name, runs in cases.items()
    }))  # fmt: skip

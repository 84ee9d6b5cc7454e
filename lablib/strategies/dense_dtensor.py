"""Train a model of dense layers whose weights are DTensors, which Keras 3's layers do not support.

Each array has a layout on a mesh of ranks. From the layouts TensorFlow derives what each rank
computes and where it must communicate, so the program contains no collective.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from lablib.strategies import column_row
from lablib.strategies.strategy import Job
from lablib.tasks import Task

ONLY_MEASURED = "DTensor sends its messages past everything that the kit can record"
_PACK_BYTES = 4 * 1024  # measured with TensorFlow 2.21
_OF_A_GELU = 4  # arrays that its gradient needs: input, half of the input, error function, output


def why_not(task: Task) -> str:
    """Return why the task cannot be trained with DTensor; "" if it can."""
    if {getattr(block, "kind", "") for block in task.chain} - {"dense", "logits"}:
        return "Keras 3 has no layers for DTensor, and the kit has its own for dense ones only"
    return ""


def pack_bytes(nbytes: int) -> int:
    """Return the bytes of DTensor's message for the sum of several tensors, padded to full blocks.

    >>> pack_bytes(4 * 1025)
    8192
    """
    return -(-nbytes // _PACK_BYTES) * _PACK_BYTES


def kept_bytes(task: Task, samples: int, sharing: int = 1) -> int:
    """Return the bytes that a rank keeps for the backward pass: samples, and arrays of GELUs.

    sharing   the number of ranks that share a layer that is cut by columns
    """
    columns = {pair.first for pair in column_row.pairs(task)}
    *hidden, _ = enumerate(task.chain)
    widths = [prod(block.shape_out) // (sharing if n in columns else 1) for n, block in hidden]
    return 4 * samples * (prod(task.chain[0].shape_in) + _OF_A_GELU * sum(widths))


def connected_mesh(me, axes: Mapping[str, int]):
    """Return a mesh of all ranks.

    DTensor reads its own environment variables, not TF_CONFIG, so these are set here.

    axes   {name of an axis: number of ranks along it}
    """
    import json
    import os

    from tensorflow.experimental import dtensor

    hosts = json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"]
    os.environ["DTENSOR_JOB_NAME"] = "worker"
    os.environ["DTENSOR_JOBS"] = ",".join(hosts)
    os.environ["DTENSOR_CLIENT_ID"] = str(me.rank)
    os.environ["DTENSOR_NUM_CLIENTS"] = str(me.ranks)
    dtensor.initialize_accelerator_system("CPU")
    return dtensor.create_distributed_mesh([*axes.items()], device_type="CPU")


def placed(array, mesh, cut: Mapping[int, str]):
    """Return a DTensor of an array that every rank has: each rank packs its own part.

    cut    {axis of the array: axis of the mesh along which its parts lie}
    """
    import numpy as np
    import tensorflow as tf
    from tensorflow.experimental import dtensor

    layout = dtensor.Layout([cut.get(n, dtensor.UNSHARDED) for n in range(array.ndim)], mesh)
    (place,) = mesh.local_device_locations()
    for axis, name in cut.items():
        array = np.split(array, mesh.dim_size(name), axis)[place[name]]
    return dtensor.pack([tf.constant(array)], layout)


def train(me, job: Job, mesh, cuts: Mapping[str, Mapping[int, str]], samples_along, gather=False):
    """Train with weights and momenta that are distributed over the mesh.

    cuts            {canonical name: cut, as in `placed`}, in the model's order
    samples_along   the mesh axis over which a batch is divided; None: every rank has all of it
    gather          True: gather each weight before it is used
    """
    import numpy as np
    import tensorflow as tf
    from tensorflow.experimental import dtensor

    task, initial = job.task, job.task.weights(job.seed)

    def variables(arrays):
        return [dtensor.DVariable(placed(arrays[name], mesh, cut)) for name, cut in cuts.items()]

    weights = variables(initial)
    momenta = variables({name: np.zeros_like(array) for name, array in initial.items()})
    del initial  # each rank needs only its parts from here on

    @tf.function
    def train_step(x, y):
        with tf.GradientTape() as tape:
            used = [_whole(weight, mesh) if gather else weight for weight in weights]
            loss = task.tensorflow_loss(outputs(x, used), y)
        for weight, momentum, gradient in zip(weights, momenta, tape.gradient(loss, weights)):
            # DTensor may read a variable's old value after an assignment, so use `velocity`.
            velocity = task.momentum * momentum - task.lr * gradient
            momentum.assign(velocity)
            weight.assign_add(velocity)
        return loss

    divided = {0: samples_along} if samples_along else {}
    parts = mesh.dim_size(samples_along) if samples_along else 1
    losses = []
    for step in range(job.steps):
        x, y = (placed(array, mesh, divided) for array in job.batch_at(step))
        with me.step(samples=job.batch // parts):
            loss = train_step(x, y).numpy()
        losses.append(float(loss))
    me.log(held_bytes=sum(dtensor.unpack(w.read_value())[0].numpy().nbytes for w in weights))
    arrays = {name: _whole(weight, mesh).numpy() for name, weight in zip(cuts, weights)}
    return {"losses": losses, "weights": arrays if me.rank == 0 else {}}


def _whole(weight, mesh):
    """Return the whole array on every rank."""
    from tensorflow.experimental import dtensor

    return dtensor.relayout(weight, dtensor.Layout.replicated(mesh, len(weight.shape)))


def outputs(x, weights: list) -> Any:
    """Return the output of dense layers with a GELU between each two of them.

    weights   kernel and bias of each layer in turn
    """
    import tensorflow as tf

    *hidden, last = zip(weights[::2], weights[1::2])
    for kernel, bias in hidden:
        x = tf.nn.gelu(x @ kernel + bias, approximate=False)
    return x @ last[0] + last[1]

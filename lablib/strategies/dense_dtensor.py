"""A model of dense layers whose weights are DTensors: Keras 3 has no layers that can hold them.

Each array has a layout on a mesh of ranks. TensorFlow finds out from the layouts what each rank
computes and where parts must meet. Nobody writes a collective.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from lablib.strategies import column_row
from lablib.strategies.strategy import Job
from lablib.tasks import Task

ONLY_MEASURED = "DTensor sends its messages past everything that could be recorded"
_PACK_BYTES = 4 * 1024  # seen with TensorFlow 2.21
_OF_A_GELU = 4  # arrays that its gradient needs: input, half of it, error function, output


def why_not(task: Task) -> str:
    """Why the task cannot be trained so; "" when it can."""
    if {getattr(block, "kind", "") for block in task.chain} - {"dense", "logits"}:
        return "Keras 3 has no layers for DTensor, and dense ones only are written out here"
    return ""


def pack_bytes(nbytes: int) -> int:
    """What DTensor sends for several tensors that it sums in one message: it fills the message up.

    >>> pack_bytes(4 * 1025)
    8192
    """
    return -(-nbytes // _PACK_BYTES) * _PACK_BYTES


def kept_bytes(task: Task, samples: int, sharing: int = 1) -> int:
    """Bytes that a rank keeps from forward to backward pass: the samples, and of each GELU.

    sharing   how many ranks share a layer that is cut by columns
    """
    columns = {pair.first for pair in column_row.pairs(task)}
    *hidden, _ = enumerate(task.chain)
    widths = [prod(block.shape_out) // (sharing if n in columns else 1) for n, block in hidden]
    return 4 * samples * (prod(task.chain[0].shape_in) + _OF_A_GELU * sum(widths))


def connected_mesh(me, axes: Mapping[str, int]):
    """A mesh of all ranks, name of an axis -> how many ranks lie along it.

    DTensor reads variables of its own, not TF_CONFIG.
    """
    import json
    import os

    from tensorflow.experimental import dtensor

    hosts = json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"]
    os.environ["DTENSOR_JOB_NAME"], os.environ["DTENSOR_JOBS"] = "worker", ",".join(hosts)
    os.environ["DTENSOR_CLIENT_ID"] = str(me.rank)
    os.environ["DTENSOR_NUM_CLIENTS"] = str(me.ranks)
    dtensor.initialize_accelerator_system("CPU")
    return dtensor.create_distributed_mesh([*axes.items()], device_type="CPU")


def placed(array, mesh, cut: Mapping[int, str]):
    """A DTensor of an array that every rank has: each packs its part of it.

    cut    axis of the array -> axis of the mesh along which its parts lie
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
    """Train with weights and momenta that lie on the mesh as `cuts` says, by canonical name and in
    the model's order.

    samples_along   axis of the mesh over which a batch is divided; None: every rank has all of it
    gather          ask for each weight whole before it is used
    """
    import numpy as np
    import tensorflow as tf
    from tensorflow.experimental import dtensor

    task, initial = job.task, job.task.weights(job.seed)

    def variables(arrays):
        return [dtensor.DVariable(placed(arrays[name], mesh, cut)) for name, cut in cuts.items()]

    weights = variables(initial)
    momenta = variables({name: np.zeros_like(array) for name, array in initial.items()})
    del initial  # the parts are enough

    @tf.function
    def train_step(x, y):
        with tf.GradientTape() as tape:
            used = [_whole(weight, mesh) if gather else weight for weight in weights]
            loss = task.tensorflow_loss(outputs(x, used), y)
        for weight, momentum, gradient in zip(weights, momenta, tape.gradient(loss, weights)):
            # DTensor does not order the reading of a variable after its assignment.
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
    """All of it on every rank."""
    from tensorflow.experimental import dtensor

    return dtensor.relayout(weight, dtensor.Layout.replicated(mesh, len(weight.shape)))


def outputs(x, weights: list) -> Any:
    """Dense layers, kernel and bias in turn, with a GELU between two of them."""
    import tensorflow as tf

    *hidden, last = zip(weights[::2], weights[1::2])
    for kernel, bias in hidden:
        x = tf.nn.gelu(x @ kernel + bias, approximate=False)
    return x @ last[0] + last[1]

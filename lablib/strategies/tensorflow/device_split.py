"""Model parallelism by placement: rank 0 runs one program for all ranks.

`tf.device` places each stage of the model on a task of the cluster, and TensorFlow sends tensors
from one stage to the next. If the batch is cut into micro-batches, stages work at the same time.
"""

from itertools import chain

from lablib.strategies import activations
from lablib.strategies.expected import Expected
from lablib.strategies.stages import input_bytes
from lablib.strategies.strategy import Job, Strategy

# In these kinds of blocks a backward pass holds the most when it begins. Attention holds more
# later.
_CLOSED_FORM = ("dense", "logits", "conv", "conv_pool")

STRATEGY = Strategy(
    name="device_split",
    framework="tensorflow",
    family="pipeline",
    about="Every rank holds one stage of the model; rank 0 runs the program and TensorFlow "
    "sends activations and gradients between the stages.",
    read="https://www.tensorflow.org/api_docs/python/tf/config/experimental_connect_to_cluster",
    splits="blocks",
    least_ranks=2,
    options={"micro_batches": 1},
    fits=lambda task, ranks, batch, micro_batches: (
        f"it cannot be cut into micro_batches={micro_batches} evenly"
        if micro_batches < 1 or batch % micro_batches
        else ""
    ),
    only_measured="one rank drives the others, so the kit has no program of what they compute and "
    "receive",
)


def train(me, job: Job) -> dict | None:
    import json
    import os

    import tensorflow as tf

    cluster = json.loads(os.environ["TF_CONFIG"])["cluster"]
    if me.rank > 0:  # serve until rank 0 has returned
        me.server = tf.distribute.Server(cluster, job_name="worker", task_index=me.rank)
        return None
    tf.config.experimental_connect_to_cluster(
        tf.train.ClusterSpec(cluster), job_name="worker", task_index=0
    )
    task, micro_batches = job.task, job.options["micro_batches"]
    devices = [f"/job:worker/replica:0/task:{rank}/device:CPU:0" for rank in range(me.ranks)]
    stages, optimizers = placed(job, devices)

    def forward_and_backward(x, y):
        tapes, inputs, outputs = [], [], []
        for device, stage in zip(devices, stages):
            with tf.device(device), tf.GradientTape() as tape:
                x = tf.identity(x)
                if inputs:
                    tape.watch(x)
                inputs.append(x)
                x = stage(x)
                outputs.append(x)
                if stage is stages[-1]:
                    loss = outputs[-1] = task.tensorflow_loss(x, y) / micro_batches
            tapes.append(tape)
        gradients, upstream = [], None
        for rank in reversed(range(me.ranks)):
            sources = [stages[rank].trainable_variables, *([inputs[rank]] if rank else [])]
            with tf.device(devices[rank]):
                of_weights, *before = tapes[rank].gradient(outputs[rank], sources, upstream)
            gradients.insert(0, of_weights)
            upstream = before[0] if before else None
        return loss, gradients

    @tf.function
    def train_step(x, y):
        # Micro-batches do not depend on one another. While one is in a stage, the next can be in
        # the stage before it: TensorFlow starts each operation as soon as its inputs are ready.
        parts = zip(tf.split(x, micro_batches), tf.split(y, micro_batches))
        losses, gradients = zip(*(forward_and_backward(x, y) for x, y in parts))
        for rank, (device, stage) in enumerate(zip(devices, stages)):
            with tf.device(device):
                sums = [tf.add_n(several) for several in zip(*(of[rank] for of in gradients))]
                optimizers[rank].apply_gradients(zip(sums, stage.trainable_variables))
        return tf.add_n(losses)

    losses = []
    for step in range(job.steps):
        x, y = map(tf.constant, job.batch_at(step))
        with me.step(samples=len(x)):
            loss = train_step(x, y).numpy()
        losses.append(float(loss))
    arrays = [task.tensorflow_arrays(stage).items() for stage in stages]
    return {"losses": losses, "weights": dict(chain.from_iterable(arrays))}


def placed(job, devices):
    """Return the stages of the model and an optimizer for each, with variables on the devices."""
    import keras
    import tensorflow as tf

    task, stages, optimizers = job.task, [], []
    for device, blocks in zip(devices, task.cut(len(devices))):
        with tf.device(device):
            stages.append(task.tensorflow_model(job.seed, blocks))
            optimizers.append(keras.optimizers.SGD(task.lr, momentum=task.momentum))
            optimizers[-1].build(stages[-1].trainable_variables)
    return stages, optimizers


def expected(task, ranks: int, batch: int, micro_batches: int = 1) -> Expected:
    """Return what rank 0 sends and what the fullest stage holds.

    Rank 0 sends activations to the next stage and labels to the last one. The memory is None if
    there is no closed form for one of the blocks.
    """
    (_, y), cut = task.batch_at(0, batch), task.cut(ranks)
    sent = {"send": (2 * micro_batches, batch * input_bytes(task, cut[1][0]) + y.nbytes)}
    if any(getattr(block, "kind", "") not in _CLOSED_FORM for block in task.chain):
        return Expected(sent, _wire_bytes(task, cut, batch, y.nbytes))
    stages = (_held_bytes(task, blocks, batch, micro_batches) for blocks in cut)
    return Expected(sent, _wire_bytes(task, cut, batch, y.nbytes), max(stages))


def _wire_bytes(task, cut, batch, label_bytes):
    """Return the bytes of the busiest rank.

    Every stage sends activations on and gradients back. The labels go from the first stage to the
    last.
    """
    crossed = [0, *(batch * input_bytes(task, blocks[0]) for blocks in cut[1:]), 0]
    carried = [crossed[stage] + crossed[stage + 1] for stage in range(len(cut))]
    carried[0] += label_bytes
    carried[-1] += label_bytes
    return max(carried)


def _held_bytes(task, blocks, batch, micro_batches):
    """Return the most bytes that a stage holds.

    It holds the most when all micro-batches have gone forward, or when the gradients of the last
    one arrive while those of the others wait. Weights, momentum, and momentum times its factor are
    always held (see `single`).
    """
    sizes = [task.chain[number].weight_bytes for number in blocks]
    piece, following = batch // micro_batches, blocks[-1] + 1
    kept = activations.saved_bytes_in_graph(task, piece, blocks)
    kept += piece * input_bytes(task, following) if following < task.blocks else 0
    forward = 3 * sum(sizes) + micro_batches * kept
    backward = (2 + micro_batches) * sum(sizes) + max(kept, max(sizes))
    return max(forward, backward)

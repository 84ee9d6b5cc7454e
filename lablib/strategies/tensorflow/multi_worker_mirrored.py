"""Data parallelism with `MultiWorkerMirroredStrategy`.

Every worker has a copy of the model and its shard of the batch. Collectives sum the gradients when
the optimizer applies them.

The training loop is written out, because `Model.fit` under this strategy fails with Keras 3 (seen
with TensorFlow 2.21; https://github.com/keras-team/keras/issues/20585).
"""

from lablib.strategies import activations
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="multi_worker_mirrored",
    framework="tensorflow",
    family="data",
    about="Every worker holds the whole model and its shard of the batch; gradients are summed "
    "by all-reduce, in one pack after the backward pass or in several during it.",
    read="https://www.tensorflow.org/tutorials/distribute/multi_worker_with_ctl",
    splits="batch",
    # Least size of one all-reduce; 0: one all-reduce for all gradients.
    options={"packing_mb": 0.0},
)


def train(me, job: Job) -> dict:
    import keras
    import tensorflow as tf

    task = job.task
    communication = tf.distribute.experimental.CommunicationOptions(
        bytes_per_pack=_packing_bytes(job.options["packing_mb"])
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=communication)
    with strategy.scope():
        model = task.tensorflow_model(job.seed)
        optimizer = keras.optimizers.SGD(task.lr, momentum=task.momentum)
        optimizer.build(model.trainable_variables)

    def replica_step(x, y):
        with tf.GradientTape() as tape:
            loss = task.tensorflow_loss(model(x), y)
            scaled = loss / strategy.num_replicas_in_sync  # the gradients are summed, not averaged
        gradients = tape.gradient(scaled, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    @tf.function
    def train_step(x, y):
        return strategy.run(replica_step, args=(x, y))

    losses = []
    for step in range(job.steps):
        x, y = map(tf.constant, job.shard_at(step, me))
        with me.step(samples=len(x)):
            loss = train_step(x, y).numpy()
        losses.append(float(loss))
    return {"losses": losses, "weights": task.tensorflow_arrays(model) if me.rank == 0 else {}}


def expected(task, ranks: int, batch: int, packing_mb: float = 0.0) -> Expected:
    held_bytes = 3 * task.weight_bytes  # see `single`
    between_passes = held_bytes + activations.saved_bytes_in_graph(task, batch // ranks)
    if ranks == 1:
        return Expected({}, 0, between_passes)
    packs = _packs([array.nbytes for array in task.weights().values()], _packing_bytes(packing_mb))
    sums = {"all_reduce": (ranks * len(packs), ranks * task.weight_bytes)}
    after_backward = held_bytes + task.weight_bytes + max(packs)  # all gradients, and their copy
    carried = wire_bytes_of_collectives(sums, ranks)
    return Expected(sums, carried, max(between_passes, after_backward))


def _packing_bytes(packing_mb):
    return int(packing_mb * 2**20)


def _packs(sizes, at_least):
    """Return the bytes of each all-reduce, starting with the last gradient.

    A pack is closed when it has more than `at_least` bytes.
    """
    packs = [0]
    for size in reversed(sizes):
        if at_least and packs[-1] > at_least:
            packs.append(0)
        packs[-1] += size
    return packs

"""Checkpoint and restart with `tf.train.CheckpointManager`.

This is data parallelism that saves, every few steps, everything that the next step depends on.
After an interruption, the same call continues from there.
"""

from lablib.strategies import checkpoint, faults
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.tensorflow import multi_worker_mirrored

STRATEGY = Strategy(
    name="restart",
    framework="tensorflow",
    family="restart",
    about="As multi_worker_mirrored; every few steps rank 0 writes weights, momentum and losses "
    "to files, and every rank begins with the newest that are whole.",
    read="https://www.tensorflow.org/guide/checkpoint",
    splits="batch",
    options=checkpoint.OPTIONS,
)


def train(me, job: Job) -> dict:
    import keras
    import tensorflow as tf

    folder, task = checkpoint.open_folder(job), job.task
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = task.tensorflow_model(job.seed)
        optimizer = keras.optimizers.SGD(task.lr, momentum=task.momentum)
        optimizer.build(model.trainable_variables)
    past = _past(job)
    whole = tf.train.Checkpoint(model=model, optimizer=optimizer, past=past)
    manager = tf.train.CheckpointManager(whole, folder, max_to_keep=job.options["keep"])
    if newest := _newest(folder, job):
        whole.restore(newest).assert_consumed()

    def replica_step(x, y):
        with tf.GradientTape() as tape:
            loss = task.tensorflow_loss(model(x), y)
            scaled = loss / strategy.num_replicas_in_sync
        gradients = tape.gradient(scaled, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    @tf.function
    def train_step(x, y):
        loss = strategy.run(replica_step, args=(x, y))
        return strategy.reduce(tf.distribute.ReduceOp.MEAN, loss, axis=None)

    for step in range(len(past.losses), job.steps):
        faults.strike(job.options["fail_at"], me, step)
        x, y = map(tf.constant, job.shard_at(step, me))
        with me.step(samples=len(x)):
            past.losses.append(float(train_step(x, y).numpy()))
        if me.rank == 0 and checkpoint.due(step + 1, job):
            _save(manager, step + 1)
    weights = task.tensorflow_arrays(model) if me.rank == 0 else {}
    return {"losses": past.losses, "weights": weights}


def _past(job):
    """Return an object that stores the losses so far in a checkpoint.

    The number of losses is the number of the step to continue with.
    """
    import json

    import tensorflow as tf

    class Past(tf.train.experimental.PythonState):
        losses = []

        def serialize(self):
            return json.dumps({"job": checkpoint.describe_job(job), "losses": self.losses})

        def deserialize(self, text):
            self.losses = json.loads(text)["losses"]

    return Past()


def _newest(folder, job):
    """Return the path of the newest complete checkpoint; None if there is none yet."""
    numbered = [path.with_suffix("") for path in folder.glob("ckpt-*.index")]
    for path in sorted(numbered, key=lambda path: int(path.name[5:]), reverse=True):
        if head := _read(path):
            checkpoint.check_continues(path, head["job"], len(head["losses"]), job)
            return str(path)
        checkpoint.tell_damaged(path)
    if numbered:
        raise checkpoint.all_damaged(folder)
    return None


def _read(path):
    """Return what `_past` wrote, after reading every array; None if anything is damaged."""
    import json

    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(path))
        # TensorFlow verifies only the checksums of arrays that are read, so read all of them.
        found = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, IndexError):  # IndexError: a file is too short
        return None
    # A checkpoint of another program has no losses and no job, so use empty ones.
    return json.loads(found.get("past/.ATTRIBUTES/py_state", '{"job": {}, "losses": []}'))


def _save(manager, steps):
    import tensorflow as tf

    try:
        manager.save(checkpoint_number=steps)
    except (OSError, tf.errors.OpError) as error:
        why = str(error)[-200:]  # the system's reason; a long path comes before it
        raise checkpoint.not_written(manager.directory, why) from error


def expected(task, ranks, batch, **options) -> Expected:
    """Return what a step sends: the gradients in one all-reduce, the loss in another."""
    sums = {"all_reduce": (2 * ranks, ranks * (task.weight_bytes + 4))} if ranks > 1 else {}
    alike = multi_worker_mirrored.expected(task, ranks, batch)
    return Expected(sums, wire_bytes_of_collectives(sums, ranks), alike.live_bytes)

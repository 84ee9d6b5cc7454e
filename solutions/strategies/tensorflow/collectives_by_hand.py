"""Data parallelism by hand, with one all-reduce in each step.

Every worker flattens its gradients into one tensor. The all-reduce sums these tensors over the
workers, and each worker divides the sum by their number before its optimizer uses it.

`MultiWorkerMirroredStrategy` is used only for its collectives. Each worker has its own variables,
so this file must make the workers begin with the same weights.
"""

from lablib.strategies import activations
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.strategy import Job, Strategy

EXERCISES = ("3.4",)
STRATEGY = Strategy(
    name="collectives_by_hand",
    framework="tensorflow",
    family="data",
    about="Every worker holds the whole model and its shard of the batch; the gradients, as one "
    "flat tensor, are summed by one all-reduce after the backward pass.",
    read="https://www.tensorflow.org/api_docs/python/tf/distribute/ReplicaContext#all_reduce",
    splits="batch",
)


def train(me, job: Job) -> dict:
    import keras
    import tensorflow as tf

    task = job.task
    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    def sum_on_replica(mine):
        # The identity places it on this worker's device, as the strategy of one worker requires.
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(mine))

    @tf.function
    def sum_over_workers(mine):
        return strategy.run(sum_on_replica, args=(mine,))

    model = task.tensorflow_model(job.seed)
    optimizer = keras.optimizers.SGD(task.lr, momentum=task.momentum)
    optimizer.build(model.trainable_variables)
    begin_alike(model, me, sum_over_workers)

    @tf.function
    def train_step(x, y):
        with tf.GradientTape() as tape:
            loss = task.tensorflow_loss(model(x), y)
        gradients = tape.gradient(loss, model.trainable_variables)
        mean = sum_over_workers(flat(gradients)) / me.ranks
        optimizer.apply_gradients(zip(cut_up(mean, model), model.trainable_variables))
        return loss

    losses = []
    for step in range(job.steps):
        x, y = map(tf.constant, job.shard_at(step, me))
        with me.step(samples=len(x)):
            loss = train_step(x, y).numpy()
        losses.append(float(loss))
    return {"losses": losses, "weights": task.tensorflow_arrays(model) if me.rank == 0 else {}}


def begin_alike(model, me, sum_over_workers):
    """Broadcast rank 0's values by an all-reduce: all other ranks add zeros."""
    import tensorflow as tf

    first = flat(model.trainable_variables)
    start = sum_over_workers(first if me.rank == 0 else tf.zeros_like(first))
    for variable, value in zip(model.trainable_variables, cut_up(start, model)):
        variable.assign(value)


def flat(tensors):
    """Concatenate the flattened tensors into one tensor with one axis."""
    import tensorflow as tf

    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)


def cut_up(tensor, model):
    """Cut a tensor made by `flat` into the shapes of the model's variables."""
    import tensorflow as tf

    shapes = [variable.shape for variable in model.trainable_variables]
    parts = tf.split(tensor, [shape.num_elements() for shape in map(tf.TensorShape, shapes)])
    return [tf.reshape(part, shape) for part, shape in zip(parts, shapes)]


def expected(task, ranks: int, batch: int) -> Expected:
    sums = {"all_reduce": (ranks, ranks * task.weight_bytes)} if ranks > 1 else {}
    carried = wire_bytes_of_collectives(sums, ranks)
    held_bytes = 3 * task.weight_bytes  # see `single`
    between_passes = held_bytes + activations.saved_bytes_in_graph(task, batch // ranks)
    flattened = held_bytes + 2 * task.weight_bytes  # the gradients, and all of them end to end
    return Expected(sums, carried, max(between_passes, flattened))

"""Data parallelism by hand: every worker flattens its gradients into one tensor, one all-reduce
sums these over the workers, and each divides by their number before its optimizer uses them.

`MultiWorkerMirroredStrategy` is here only for its collectives; the variables are each worker's own,
so the workers must begin with the same weights, and nobody but this file sees to that."""

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
        # The identity places it on this worker's device: a lone worker's strategy asks for that.
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
    """What rank 0 has plus zeros is what rank 0 has: a broadcast made of an all-reduce."""
    import tensorflow as tf

    first = flat(model.trainable_variables)
    start = sum_over_workers(first if me.rank == 0 else tf.zeros_like(first))
    for variable, value in zip(model.trainable_variables, cut_up(start, model)):
        variable.assign(value)


def flat(tensors):
    """All of them end to end in one tensor of one axis."""
    import tensorflow as tf

    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)


def cut_up(tensor, model):
    """What `flat` made, cut again into the shapes of the model's variables."""
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

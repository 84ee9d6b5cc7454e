"""SGD with differential privacy: the gradient of each record is clipped, and noise is added.

`strategies/differential_privacy.py` says what is simplified. The gradients of all records of a
batch are computed at once by `tf.vectorized_map`, so a rank holds one gradient for each of its
records.
"""

from lablib.strategies import differential_privacy
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.tensorflow_hospital import put, sums_over_ranks

STRATEGY = Strategy(
    name="dp_sgd",
    framework="tensorflow",
    family="federated",
    about="Every rank is a hospital; the gradient of each of its records is clipped, and the "
    "sum over all hospitals, by all-reduce, gets noise that hides any single record.",
    read=differential_privacy.READ,
    splits="nothing",
    options=differential_privacy.OPTIONS,
    fits=differential_privacy.fits,
    synchronous=False,
)


def train(me, job: Job) -> dict:
    import keras
    import tensorflow as tf

    task = job.task
    strategy = tf.distribute.MultiWorkerMirroredStrategy()  # used only for its all-reduce
    model = task.tensorflow_model(job.seed)
    weights = model.trainable_variables
    optimizer = keras.optimizers.SGD(task.lr, momentum=task.momentum)
    optimizer.build(weights)
    sizes = [weight.shape.num_elements() for weight in weights]

    @tf.function(reduce_retracing=True)
    def sum_of_clipped(x, y):
        rows, losses = gradients_of_each(model, task.tensorflow_loss, x, y)
        return tf.reduce_sum(clipped(rows, job.options["clip"]), axis=0), tf.reduce_sum(losses)

    @tf.function
    def move(mine):
        # The expected size of the batch; the real one would reveal who was drawn.
        mean = strategy.run(sums_over_ranks, args=([mine],))[0] / job.batch
        parts = [
            tf.reshape(part, weight.shape) for part, weight in zip(tf.split(mean, sizes), weights)
        ]
        optimizer.apply_gradients(zip(parts, weights))

    def learn(x, y, rng):
        noise = tf.constant(differential_privacy.noise_of(sum(sizes), job, me.ranks, rng))
        gradient, total = sum_of_clipped(x, y) if len(x) else (0.0, 0.0)
        move(gradient + noise)
        return float(total)

    losses = differential_privacy.train(me, job, put, learn)
    return {"losses": losses, "weights": task.tensorflow_arrays(model) if me.rank == 0 else {}}


def gradients_of_each(model, loss, x, y) -> tuple:
    """Return the gradient of each record, [records, trained weights], and its loss, [records].

    loss   (outputs, y) -> the mean loss of a batch
    """
    import tensorflow as tf

    def of_one(record):
        x, y = record
        with tf.GradientTape() as tape:
            loss_of_one = loss(model(x[None]), y[None])
        gradients = tape.gradient(loss_of_one, model.trainable_variables)
        return tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], 0), loss_of_one

    return tf.vectorized_map(of_one, (x, y))


def clipped(rows, clip: float):
    """Return the rows of a matrix; rows that are longer than `clip` are shortened to this norm."""
    import tensorflow as tf

    return rows * tf.minimum(clip / tf.norm(rows, axis=1, keepdims=True), 1.0)


def expected(task, ranks, batch, clip=1.0, noise=1.0, skew=None) -> Expected:
    sums = {"all_reduce": (ranks, ranks * task.weight_bytes)} if ranks > 1 else {}
    return Expected(sums, wire_bytes_of_collectives(sums, ranks))

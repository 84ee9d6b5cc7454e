"""SGD with differential privacy: the gradient of each record is clipped, and noise is added.

`strategies/differential_privacy.py` says what is simplified. The gradients of all records of a
batch are computed at once by `tf.vectorized_map`, so a rank holds one gradient for each of its
records.
"""

import numpy as np

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
    def sums_of_clipped(x, y):
        gradients, losses = gradients_of_each(model, task.tensorflow_loss, x, y)
        each = clipped(gradients, job.options["clip"])
        return [tf.reduce_sum(array, axis=0) for array in each], tf.reduce_sum(losses)

    @tf.function
    def move(sums):
        totals = strategy.run(sums_over_ranks, args=(sums,))
        # The expected size of the batch; the real one would reveal who was drawn.
        optimizer.apply_gradients([(array / job.batch, w) for array, w in zip(totals, weights)])

    def learn(x, y, rng):
        noise = differential_privacy.noise_of(sum(sizes), job, me.ranks, rng)
        parts = np.split(noise, np.cumsum(sizes)[:-1])
        sums = [tf.reshape(part, weight.shape) for part, weight in zip(parts, weights)]
        total = 0.0
        if len(x):
            clipped_sums, total = sums_of_clipped(x, y)
            sums = [noise + array for noise, array in zip(sums, clipped_sums)]
        move(sums)
        return float(total)

    losses = differential_privacy.train(me, job, put, learn)
    return {"losses": losses, "weights": task.tensorflow_arrays(model) if me.rank == 0 else {}}


def gradients_of_each(model, loss, x, y) -> tuple:
    """Return the gradients of each record, a list of [records, ...] for each weight, and its loss.

    loss   (outputs, y) -> the mean loss of a batch
    """
    import tensorflow as tf

    def of_one(record):
        x, y = record
        with tf.GradientTape() as tape:
            loss_of_one = loss(model(x[None]), y[None])
        gradients = tape.gradient(loss_of_one, model.trainable_variables)
        return [tf.convert_to_tensor(gradient) for gradient in gradients], loss_of_one

    return tf.vectorized_map(of_one, (x, y))


def clipped(gradients: list, clip: float) -> list:
    """Return the gradients; those of a record are shortened if their norm is above `clip`.

    gradients   a list of [records, ...]; the norm of a record's gradient is over the whole list
    """
    import tensorflow as tf

    squares = [tf.reduce_sum(array**2, axis=range(1, len(array.shape))) for array in gradients]
    factors = tf.minimum(clip / tf.sqrt(tf.add_n(squares)), 1.0)
    return [tf.einsum("r,r...->r...", factors, array) for array in gradients]


def expected(task, ranks, batch, clip=1.0, noise=1.0, skew=None) -> Expected:
    sums = {"all_reduce": (ranks, ranks * task.weight_bytes)} if ranks > 1 else {}
    return Expected(sums, wire_bytes_of_collectives(sums, ranks))

"""Programs like those in TensorFlow's guides: nothing is built before the first step needs it."""

from __future__ import annotations


class Setting:
    """A strategy with a model whose layers and optimizer make their variables in the first call."""

    def __init__(self, optimizer="SGD", **options):
        import numpy as np
        import tensorflow as tf

        tf.keras.utils.set_random_seed(1)
        self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
        with self.strategy.scope():
            self.model = tf.keras.Sequential([tf.keras.layers.Dense(3)])
            self.optimizer = getattr(tf.keras.optimizers, optimizer)(0.1, **options)
        x = np.linspace(-1, 1, 96).reshape(32, 3).astype(np.float32)
        self.data = tf.data.Dataset.from_tensor_slices((x, np.arange(32) % 3)).batch(8)

    def logits_and_loss(self, x, y):
        import tensorflow as tf

        logits = self.model(x)
        losses = tf.keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
        return logits, tf.nn.compute_average_loss(losses)

    def replica_step(self, inputs):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            _, loss = self.logits_and_loss(*inputs)
        weights = self.model.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    def train_step(self, iterator):
        losses = self.strategy.run(self.replica_step, args=(next(iterator),))
        return self.strategy.reduce("SUM", losses, axis=None)


def takes_an_iterator(optimizer, **options):
    import tensorflow as tf

    given = Setting(optimizer, **options)
    data = given.strategy.distribute_datasets_from_function(lambda context: given.data.repeat())
    step, iterator = tf.function(given.train_step), iter(data)
    return [float(step(iterator)) for _ in range(3)]


def retraces_less():
    import tensorflow as tf

    given = Setting("Adam")
    iterator = iter(given.strategy.experimental_distribute_dataset(given.data.repeat()))
    step = tf.function(given.train_step, reduce_retracing=True)
    return [float(step(iterator)) for _ in range(2)]


def loops_in_the_function():
    import tensorflow as tf

    given = Setting("Adam")
    iterator = iter(given.strategy.experimental_distribute_dataset(given.data.repeat()))

    @tf.function
    def epoch():
        return [given.train_step(iterator) for _ in range(3)]

    return [float(loss) for loss in epoch()]


def counts_in_metrics():
    import tensorflow as tf

    given = Setting()
    with given.strategy.scope():
        accuracy, mean = tf.keras.metrics.SparseCategoricalAccuracy(), tf.keras.metrics.Mean()

    def replica_step(x, y):
        logits, loss = given.logits_and_loss(x, y)
        accuracy.update_state(y, logits)
        mean.update_state(loss)

    @tf.function
    def step(inputs):
        given.strategy.run(replica_step, args=inputs)

    for inputs in given.strategy.experimental_distribute_dataset(given.data):
        step(inputs)
    return float(accuracy.result()), float(mean.result())


def has_two_functions():
    import tensorflow as tf

    given = Setting("Adam")
    iterator = iter(given.strategy.experimental_distribute_dataset(given.data.repeat()))

    @tf.function
    def test(iterator):
        loss = given.strategy.run(
            lambda inputs: given.logits_and_loss(*inputs)[1], (next(iterator),)
        )
        return given.strategy.reduce("SUM", loss, axis=None)

    return [float(f(iterator)) for f in (tf.function(given.train_step), test)]


def has_a_signature():
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        weight = tf.Variable(1.0)
    inner = tf.function(lambda x: tf.reduce_sum(x * weight), jit_compile=True)

    def replica_step(x):
        with tf.GradientTape(persistent=True) as tape:
            loss, square = inner(x), weight * weight
        gradient = tape.gradient(loss, weight) + tape.gradient(square, weight)
        context = tf.distribute.get_replica_context()
        weight.assign_sub(0.1 * context.all_reduce("MEAN", gradient))
        return loss

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def step(x):
        return strategy.reduce("SUM", strategy.run(replica_step, args=(x,)), axis=None)

    return [float(step(tf.ones(size))) for size in (3, 4)]


def makes_a_variable():
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    made = []

    @tf.function
    def step():
        if not made:
            made.append(tf.Variable(tf.fill([3], 2.0)))
        return tf.reduce_sum(made[0])

    total = tf.function(lambda: strategy.reduce("SUM", strategy.run(step), axis=None))
    with strategy.scope():
        return [float(total()) for _ in range(2)]


PROGRAMS = {
    "RMSprop": lambda: takes_an_iterator("RMSprop"),
    "Adam": lambda: takes_an_iterator("Adam"),
    "momentum": lambda: takes_an_iterator("SGD", momentum=0.9),
    "reduce_retracing": retraces_less,
    "a loop": loops_in_the_function,
    "metrics": counts_in_metrics,
    "two functions": has_two_functions,
    "a signature": has_a_signature,
    "a variable": makes_a_variable,
}


def run(me, name):
    """Return the result of the program with this name."""
    return PROGRAMS[name]()


def run_unrecorded(me, name):
    """Return the same result without the recorder's wrapper of the collectives."""
    from lablib.frameworks.tensorflow import compat

    for function in compat.COLLECTIVES:
        compat.replace(compat.collectives()[function], lambda recorded: recorded.__wrapped__)
    return run(me, name)


def fails_in_a_graph(me):
    import tensorflow as tf

    @tf.function
    def step(x):
        tf.debugging.assert_less(x, 1.0, message="the learning rate is too high")
        return x

    return step(tf.constant(2.0))

"""3.4, hidden from learners: other cases, other right answers, wrong answers."""

from lablib.teach.exercise import find

case_of = find("3.4").module.case_of


def cases(seed):
    return [case_of(seed, workers=3, steps=5, per_worker=3, inputs=512, outputs=520)]


def set_up(strategy, make_model, lr):
    import keras

    with strategy.scope():
        model = make_model()
        optimizer = keras.optimizers.SGD(lr)
        optimizer.build(model.trainable_variables)
    return model, optimizer


def trained(strategy, model, optimizer, batches, share):
    """Train with the gradients of each worker's loss times `share`."""
    import tensorflow as tf

    def replica_step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2) * share
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))

    @tf.function
    def train_step(x, y):
        strategy.run(replica_step, (x, y))

    for x, y in batches:
        train_step(x, y)
    return model


def scaled_loss_in_a_graph(strategy, make_model, batches, lr):
    model, optimizer = set_up(strategy, make_model, lr)
    return trained(strategy, model, optimizer, batches, 1 / strategy.num_replicas_in_sync)


def with_the_loss_of_all_workers(strategy, make_model, batches, lr):
    import tensorflow as tf

    model, optimizer = set_up(strategy, make_model, lr)

    def replica_step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2) / strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    @tf.function
    def train_step(x, y):
        return strategy.reduce("SUM", strategy.run(replica_step, (x, y)), axis=None)

    for x, y in batches:
        train_step(x, y)
    return model


def mean_by_hand_in_a_graph(strategy, make_model, batches, lr):
    import tensorflow as tf

    with strategy.scope():
        model = make_model()
    (weights,) = model.trainable_variables

    @tf.function
    def gradient(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x) - y))
        mine = tape.gradient(loss, weights.value)
        return tf.distribute.get_replica_context().all_reduce("MEAN", mine)

    for x, y in batches:
        weights.assign(weights.value - lr * strategy.run(gradient, (x, y)))
    return model


def gathers_every_gradient(strategy, make_model, batches, lr):
    """Finds the right weights, but every worker receives the gradients of all workers."""
    import tensorflow as tf

    with strategy.scope():
        model = make_model()
    (weights,) = model.trainable_variables

    @tf.function
    def gradients(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x) - y))
        mine = tape.gradient(loss, weights.value)
        return tf.distribute.get_replica_context().all_gather(mine[None], axis=0)

    for x, y in batches:
        mean = tf.reduce_mean(strategy.run(gradients, (x, y)), axis=0)
        weights.assign(weights.value - lr * mean)
    return model


def forgets_to_divide(strategy, make_model, batches, lr):
    model, optimizer = set_up(strategy, make_model, lr)
    return trained(strategy, model, optimizer, batches, 1.0)


def outside_the_scope(strategy, make_model, batches, lr):
    import keras

    model, optimizer = make_model(), keras.optimizers.SGD(lr)
    optimizer.build(model.trainable_variables)
    return trained(strategy, model, optimizer, batches, 1 / strategy.num_replicas_in_sync)


def no_communication(strategy, make_model, batches, lr):
    import tensorflow as tf

    model = make_model()
    (weights,) = model.trainable_variables
    for x, y in batches:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2)
        weights.assign(weights - lr * tape.gradient(loss, weights.value))
    return model


def model_fit(strategy, make_model, batches, lr):
    import tensorflow as tf

    with strategy.scope():
        model = make_model()
        model.compile("sgd", "mse")
    x, y = (tf.concat(parts, 0) for parts in zip(*batches))
    model.fit(x, y, batch_size=len(batches[0][0]), shuffle=False)
    return model


def never_trains(strategy, make_model, batches, lr):
    return set_up(strategy, make_model, lr)[0]


RIGHT = [scaled_loss_in_a_graph, with_the_loss_of_all_workers, mean_by_hand_in_a_graph]
WRONG = {
    "a sum instead of a mean": forgets_to_divide,
    "makes the model outside the scope": outside_the_scope,
    "no communication": no_communication,
    "gathers every gradient": gathers_every_gradient,
    "calls Model.fit": model_fit,
    "never trains": never_trains,
}

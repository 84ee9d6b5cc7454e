"""Wrong versions of strategies in TensorFlow: each differs in one thing from its right twin."""

from __future__ import annotations

from lablib.strategies import Job


def data_parallel(me, job, *, average=None, share=None, start_seed=None):
    """Train with data parallelism like `collectives_by_hand`, except for the given functions.

    average      (gradients, all_reduce) -> the gradients that the optimizer uses
    share        (job, step, me) -> this rank's samples
    start_seed   rank -> the seed of its first weights
    """
    import keras
    import tensorflow as tf

    task, strategy = job.task, tf.distribute.MultiWorkerMirroredStrategy()

    def on_replica(mine):
        return tf.distribute.get_replica_context().all_reduce("sum", tf.identity(mine))

    def all_reduce(mine):
        return strategy.run(on_replica, args=(mine,))

    model = task.tensorflow_model(start_seed(me.rank) if start_seed else job.seed)
    optimizer = keras.optimizers.SGD(task.lr, momentum=task.momentum)
    optimizer.build(model.trainable_variables)

    @tf.function
    def train_step(x, y):
        with tf.GradientTape() as tape:
            loss = task.tensorflow_loss(model(x), y)
        gradients = tape.gradient(loss, model.trainable_variables)
        gradients = (average or mean_of_flat)(me, gradients, all_reduce)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    losses = []
    for step in range(job.steps):
        x, y = map(tf.constant, share(job, step, me) if share else job.shard_at(step, me))
        with me.step(samples=len(x)):
            loss = train_step(x, y).numpy()
        losses.append(float(loss))
    return losses


def mean_of_flat(me, gradients, all_reduce, ranks=None):
    import tensorflow as tf

    flat = tf.concat([tf.reshape(g, [-1]) for g in gradients], axis=0)
    parts = tf.split(
        all_reduce(flat) / (ranks or me.ranks), [g.shape.num_elements() for g in gradients]
    )
    return [tf.reshape(part, g.shape) for part, g in zip(parts, gradients)]


def sum_of_flat(me, gradients, all_reduce):
    return mean_of_flat(me, gradients, all_reduce, ranks=1)


def mean_of_each(me, gradients, all_reduce):
    return [all_reduce(g) / me.ranks for g in gradients]


def only_mine(me, gradients, all_reduce):
    return gradients


def whole_batch(job, step, me):
    return job.batch_at(step)


def sums_instead_of_means(me, job):
    return data_parallel(me, job, average=sum_of_flat)


def reduces_each_gradient(me, job):
    return data_parallel(me, job, average=mean_of_each)


def keeps_its_gradients(me, job):
    return data_parallel(me, job, average=only_mine)


def works_on_all_the_data(me, job):
    return data_parallel(me, job, share=whole_batch)


def only_of_rank_0(me, gradients, all_reduce):
    """The other ranks send zeros, so the result is what rank 0 has computed."""
    return mean_of_flat(me, [g * (me.rank == 0) for g in gradients], all_reduce, ranks=1)


def all_for_rank_0(job, step, me):
    x, y = job.batch_at(step)
    return (x, y) if me.rank == 0 else (x[:1], y[:1])


def leaves_the_work_to_rank_0(me, job):
    return data_parallel(me, job, average=only_of_rank_0, share=all_for_rank_0)


class OnAllTheData(Job):
    def shard_at(self, step, me):
        return whole_batch(self, step, me)


class OnRank0(Job):
    def shard_at(self, step, me):
        return all_for_rank_0(self, step, me)


def mirrored_on_all_the_data(me, job):
    return _mirrored(me, job, OnAllTheData)


def mirrored_on_rank_0(me, job):
    return _mirrored(me, job, OnRank0)


def _mirrored(me, job, kind):
    from lablib.strategies.tensorflow import multi_worker_mirrored

    options = multi_worker_mirrored.STRATEGY.chosen({})
    return multi_worker_mirrored.train(me, kind(**vars(job) | {"options": options}))["losses"]


def starts_with_its_own_weights(me, job):
    return data_parallel(me, job, start_seed=lambda rank: rank)


def only_looks_forward(me, job):
    """Return the loss of every step without training."""
    model = job.task.tensorflow_model(job.seed)
    for step in range(job.steps):
        x, y = job.batch_at(step)
        with me.step(samples=len(x)):
            job.task.tensorflow_loss(model(x), y)


def keeps_its_old_weights(me, job):
    """Train like `single`, but keep twenty old copies of the weights."""
    import tensorflow as tf

    from lablib.strategies.tensorflow import single

    weights = job.task.tensorflow_model(job.seed).trainable_variables
    kept = [tf.identity(weight) + number for number in range(20) for weight in weights]
    return single.train(me, job), len(kept)


def parameter_server(me, job):
    from lablib import strategies

    return strategies.get("parameter_server", "tensorflow").train(me, job)


def never_pushes(me, job):
    """Run a parameter server that sends weights but never gets a gradient."""
    drops_its_gradients()
    return parameter_server(me, job)


def drops_its_gradients():
    import keras

    keras.optimizers.SGD.apply_gradients = lambda *_, **__: None


def bytes_by_step(me, job, train):
    """Train; return the interfaces of this network, and the bytes on its loopback in a step."""
    import os
    import socket
    from contextlib import contextmanager

    from lablib.box.resource_watch import loopback_bytes

    step, sent = me.step, []

    @contextmanager
    def watched(samples=0):
        before = loopback_bytes(os.getpid())
        with step(samples):
            yield
        sent.append(loopback_bytes(os.getpid()) - before)

    me.step = watched
    train(me, job)
    return [name for _, name in socket.if_nameindex()], sent


def hands_out_everything(me, steps):
    """Return how many updates each share of the work missed if the chief never waits.

    The worker of the first share is so slow that it updates after all others.
    """
    import tensorflow as tf

    strategy = tf.distribute.ParameterServerStrategy(
        tf.distribute.cluster_resolver.TFConfigClusterResolver()
    )
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    with strategy.scope():
        updates = tf.Variable(0, dtype=tf.int64)

    read = tf.function(lambda: updates.read_value())
    update = tf.function(lambda seen: updates.assign_add(1, read_value=True) - seen - 1)
    seen = coordinator.schedule(read).fetch()
    for _ in range(steps * (me.ranks - 2) - 1):
        coordinator.schedule(update, args=(read(),))
    coordinator.join()
    return int(coordinator.schedule(update, args=(tf.constant(seen),)).fetch())


def where_its_variables_live(me, job):
    """Train with a parameter server; return the jobs that hold the weights and their momentum."""
    import keras

    optimizers, sgd = [], keras.optimizers.SGD

    def noted(*args, **options):
        optimizers.append(sgd(*args, **options))
        return optimizers[-1]

    keras.optimizers.SGD = noted
    parameter_server(me, job)
    return _jobs(optimizers[0].variables + optimizers[0]._trainable_variables)


def where_a_plain_models_variables_live(me, job):
    """Do the same for a model that is built on the chief, outside of the strategy's scope."""
    return _jobs(job.task.tensorflow_model(job.seed).trainable_variables)


def _jobs(variables):
    import tensorflow as tf

    return {tf.DeviceSpec.from_string(variable.value.device).job for variable in variables}

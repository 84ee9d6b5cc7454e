"""Data parallelism with `MultiWorkerMirroredStrategy`: a copy of the model on every worker, a
shard of the batch each, gradients summed by collectives when they are applied.

A custom loop, because `Model.fit` under this strategy fails with Keras 3 (seen with TensorFlow
2.21; https://github.com/keras-team/keras/issues/20585)."""

from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="multi_worker_mirrored",
    framework="tensorflow",
    family="data",
    about="Every worker holds the whole model and its shard of the batch; gradients are summed "
    "by all-reduce after the backward pass.",
    read="https://www.tensorflow.org/tutorials/distribute/multi_worker_with_ctl",
    splits="batch",
)


def train(me, job: Job) -> dict:
    import keras
    import tensorflow as tf

    task = job.task
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
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

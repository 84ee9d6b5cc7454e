"""Model parallelism by placement: one program, run by rank 0; `tf.device` puts each stage of the
model on a task of the cluster, and TensorFlow sends what crosses from one to another."""

from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="device_split",
    framework="tensorflow",
    family="model",
    about="Every rank holds one stage of the model; rank 0 runs the program and TensorFlow "
    "sends activations and gradients between the stages.",
    read="https://www.tensorflow.org/api_docs/python/tf/config/experimental_connect_to_cluster",
    splits="blocks",
    least_ranks=2,
)


def train(me, job: Job) -> dict | None:
    import json
    import os

    import keras
    import tensorflow as tf

    cluster = json.loads(os.environ["TF_CONFIG"])["cluster"]
    if me.rank > 0:  # serve, until rank 0 has returned
        me.server = tf.distribute.Server(cluster, job_name="worker", task_index=me.rank)
        return None
    tf.config.experimental_connect_to_cluster(
        tf.train.ClusterSpec(cluster), job_name="worker", task_index=0
    )
    task = job.task
    devices = [f"/job:worker/replica:0/task:{rank}/device:CPU:0" for rank in range(me.ranks)]
    stages, optimizers = [], []
    for device, blocks in zip(devices, task.cut(me.ranks)):
        with tf.device(device):
            stages.append(task.tensorflow_model(job.seed, blocks))
            optimizers.append(keras.optimizers.SGD(task.lr, momentum=task.momentum))
            optimizers[-1].build(stages[-1].trainable_variables)

    @tf.function
    def train_step(x, y):
        tapes, inputs, outputs = [], [], []
        for device, stage in zip(devices, stages):
            with tf.device(device), tf.GradientTape() as tape:
                x = tf.identity(x)
                if inputs:
                    tape.watch(x)
                inputs.append(x)
                x = stage(x)
                outputs.append(x)
                if stage is stages[-1]:
                    loss = outputs[-1] = task.tensorflow_loss(x, y)
            tapes.append(tape)
        upstream = None
        for rank in reversed(range(me.ranks)):
            variables = stages[rank].trainable_variables
            with tf.device(devices[rank]):
                sources = [variables, inputs[rank]] if rank else [variables]
                gradients, *before = tapes[rank].gradient(outputs[rank], sources, upstream)
                optimizers[rank].apply_gradients(zip(gradients, variables))
            upstream = before[0] if before else None
        return loss

    losses = []
    for step in range(job.steps):
        x, y = map(tf.constant, job.batch_at(step))
        with me.step(samples=len(x)):
            loss = train_step(x, y).numpy()
        losses.append(float(loss))
    weights = {}
    for stage in stages:
        weights |= task.tensorflow_arrays(stage)
    return {"losses": losses, "weights": weights}

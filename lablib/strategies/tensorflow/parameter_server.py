"""Parameter server: one rank holds the weights, and workers update them without waiting.

Workers read the weights, compute gradients of their share of the batch and update the weights
without waiting for one another. A chief hands out the work. The staleness of a gradient is the
number of updates by other workers since its worker read the weights.

The training loop is written out, because `Model.fit` does not support this strategy with Keras 3
(seen with TensorFlow 2.21).
"""

from lablib.strategies import activations
from lablib.strategies.strategy import Job, Strategy


def _why_not(task, ranks, batch, synchronous, ahead):
    if batch % (ranks - 2):
        return f"its {ranks - 2} workers cannot share that batch evenly"
    return f"ahead={ahead}, and it cannot be below 0" if ahead < 0 else ""


STRATEGY = Strategy(
    name="parameter_server",
    framework="tensorflow",
    family="asynchronous",
    about="One rank holds the weights, one is the chief, the others are workers: each updates the "
    "weights with its own gradients at once or, synchronous, all together with their mean.",
    read="https://www.tensorflow.org/tutorials/distribute/parameter_server_training",
    splits="nothing",
    least_ranks=3,
    # ahead: the number of steps that the chief of an asynchronous run hands out before the oldest
    # one is done. This limits staleness: W workers with one share each at a time miss fewer than (2
    # ahead + 1) W updates.
    options={"synchronous": False, "ahead": 1},
    only_measured="the workers exchange variables with the parameter server past everything that "
    "the kit can record",
    fits=_why_not,
    roles=lambda ranks: {"chief": 1, "worker": ranks - 2, "ps": 1},
    synchronous=False,
)


def train(me, job: Job) -> dict:
    """Train on the chief; the workers and the parameter server only serve."""
    import keras
    import numpy as np
    import tensorflow as tf

    task = job.task
    workers = me.ranks - 2
    synchronous = job.options["synchronous"]
    ahead = 0 if synchronous else job.options["ahead"]
    strategy = tf.distribute.ParameterServerStrategy(
        tf.distribute.cluster_resolver.TFConfigClusterResolver()
    )
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    with strategy.scope():
        model = task.tensorflow_model(job.seed)
        optimizer = keras.optimizers.SGD(task.lr, momentum=task.momentum)
        optimizer.build(model.trainable_variables)
        updates = tf.Variable(0, dtype=tf.int64)

    def on_worker(x, y):
        """Return (loss, updates that its gradients missed, gradients or []) of a share."""
        seen = updates.read_value()
        with tf.control_dependencies([seen]), tf.GradientTape() as tape:
            loss = task.tensorflow_loss(model(x), y)
            # So that the shares of a step add up to the gradient of the whole batch.
            part = loss / workers
        gradients = tape.gradient(part, model.trainable_variables)
        with tf.control_dependencies(gradients):
            if synchronous:
                return loss, updates.read_value() - seen, gradients
            return loss, update([gradients]) - seen - 1, []

    def update(shares):
        """Add up and apply the gradients of the shares; return the number of updates so far."""
        sums = [sum(parts) for parts in zip(*shares)]
        optimizer.apply_gradients(zip(sums, model.trainable_variables))
        return updates.assign_add(1, read_value=True)

    work_on_worker = tf.function(lambda x, y: strategy.run(on_worker, args=(x, y)))
    update_on_worker = tf.function(lambda shares: strategy.run(update, args=(shares,)))
    waiting, losses = [], []

    def finish_oldest():
        loss, missed, gradients = zip(*(value.fetch() for value in waiting.pop(0)))
        if synchronous:
            coordinator.schedule(update_on_worker, args=(gradients,)).fetch()
        losses.append(float(np.mean(loss)))
        me.log(staleness=int(max(missed)))

    for step in range(job.steps):
        shares = zip(*(np.split(part, workers) for part in job.batch_at(step)))
        with me.step(samples=job.batch):
            waiting.append([coordinator.schedule(work_on_worker, args=share) for share in shares])
            if len(waiting) > ahead:
                finish_oldest()
    while waiting:
        finish_oldest()
    return {"losses": losses, "weights": task.tensorflow_arrays(model)}


def sent_bytes(task, ranks: int, synchronous: bool = False) -> int:
    """Return the bytes of weights and gradients that are sent between processes in one step.

    Each worker reads the weights. In an asynchronous run it sends its gradients to the parameter
    server. In a synchronous run it sends them to the chief, which sends them to one worker, which
    adds them up and sends the sum.
    """
    workers = ranks - 2
    copies = 3 * workers + 1 if synchronous else 2 * workers
    return copies * task.weight_bytes


def held_bytes(
    task, ranks: int, batch: int, synchronous: bool = False
) -> dict[str, tuple[float, float]]:
    """Return {role: (least, most)}: bounds of the most bytes that the fullest rank of a role holds.

    The server has weights and momentum. An update first computes the momentum times its factor, for
    all weights. Then it takes the gradients: one after the other if the server keeps up, or all of
    them at once if they arrive faster. This depends on the network, so there is no single number.
    """
    workers, weights = ranks - 2, task.weight_bytes
    largest = max(array.nbytes for array in task.weights().values())
    saved_bytes = activations.saved_bytes_in_graph(task, batch // workers)
    adds_up = (workers + 1) * weights if synchronous and workers > 1 else 0
    fetched = workers * weights if synchronous else 0
    at_once = 1 if synchronous else workers
    return {
        # The gradients of the workers, or one array when the variables are first set.
        "chief": (fetched, max(fetched, largest)),
        "worker": (
            max(weights + max(largest, saved_bytes), adds_up),
            max(weights + largest + saved_bytes, adds_up),
        ),
        "ps": (3 * weights + largest, (2 + 2 * at_once) * weights),
    }

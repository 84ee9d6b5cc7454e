"""A hospital in TensorFlow: a rank with a copy of the model, which it trains on its own records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lablib.strategies import activations, federated
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.strategy import Job
from lablib.tasks import Task


class Hospital:
    """A copy of the model with its weights: the trainable variables of `model`.

    `MultiWorkerMirroredStrategy` is used only for its all-reduce. Each rank has its own variables,
    which start with the same values, because the seed decides them.
    """

    def __init__(self, me: Any, job: Job):
        import tensorflow as tf

        self.me, self.task = me, job.task
        self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
        self.model = job.task.tensorflow_model(job.seed)
        self.weights = self.model.trainable_variables
        self._replace = tf.function(self._replaced_by_the_mean)

    def learning(self, correct: Callable[[list], list] | None = None) -> Callable:
        """Return a function (x, y) -> loss that does one step of plain SGD on a mini-batch.

        It returns the mean loss before the step.

        correct   gradients -> the gradients that are used instead; None: they stay as they are
        """
        import tensorflow as tf

        @tf.function
        def learn(x, y):
            with tf.GradientTape() as tape:
                loss = self.task.tensorflow_loss(self.model(x), y)
            gradients = tape.gradient(loss, self.weights)
            if correct is not None:
                gradients = correct(gradients)
            for weight, gradient in zip(self.weights, gradients):
                weight.assign_sub(self.task.lr * gradient)
            return loss

        return learn

    def average(self, now: federated.Round) -> float:
        """Replace the weights by the mean of this round; return the drift, as in `federated.train`.

        A hospital that misses the round sends zeros, because all ranks take part in an all-reduce.
        """
        import tensorflow as tf

        return float(self._replace(tf.constant(now.shares[self.me.rank])))

    def _replaced_by_the_mean(self, share):
        import tensorflow as tf

        mine = [tf.identity(weight) for weight in self.weights]
        means = self.strategy.run(sums_over_ranks, args=([share * array for array in mine],))
        for weight, mean in zip(self.weights, means):
            weight.assign(mean)
        moved = [array - mean for array, mean in zip(mine, means)]
        return tf.linalg.global_norm(moved) / tf.linalg.global_norm(means)

    def result(self, losses: list[float]) -> dict:
        """Return what the `train` of a strategy returns: the losses, and rank 0's weights."""
        weights = self.task.tensorflow_arrays(self.model) if self.me.rank == 0 else {}
        return {"losses": losses, "weights": weights}


def put(records: tuple) -> tuple:
    """Return the arrays (x, y) as tensors."""
    import tensorflow as tf

    return tuple(map(tf.constant, records))


def sums_over_ranks(arrays):
    """Return the sum of each array over the ranks, from one message. Call it by `strategy.run`."""
    import tensorflow as tf

    # The identity places them on this worker's device, as the strategy of one worker requires.
    here = [tf.identity(array) for array in arrays]
    return tf.distribute.get_replica_context().all_reduce("sum", here)


def expected(
    task: Task, ranks: int, batch: int, skew: float | None, every: int, *, kept: int, early: int
) -> Expected:
    """Return what a round sends and holds, if hospitals use one all-reduce at its end.

    every   steps in a round
    kept    copies of the weights that a hospital keeps in addition to its weights
    early   such copies that a graph computes in the forward pass, because they need no gradient
    """
    vector = task.weight_bytes
    training = training_bytes(task, ranks, batch, skew) + early * vector
    average = 3 * vector  # the weights, their share of the mean, and the mean
    held = kept * vector + federated.median_bytes(training, average, every)
    if ranks == 1:
        return Expected({}, 0, held, every)
    messages = {"all_reduce": (ranks, ranks * vector)}
    return Expected(messages, wire_bytes_of_collectives(messages, ranks), held, every)


def training_bytes(task: Task, ranks: int, batch: int, skew: float | None) -> int:
    """Return the most bytes that a hospital holds while it trains on its own records.

    These are the weights, and what the forward pass keeps or, later, the largest gradient and its
    product with the learning rate.
    """
    mini_batch = federated.mini_batch(task, ranks, batch, skew)
    largest = max(array.nbytes for array in task.weights().values())
    saved = activations.saved_bytes_in_graph(task, mini_batch)
    return task.weight_bytes + max(saved, 2 * largest)

"""Secure aggregation: federated averaging in which nobody sees the weights of one hospital.

Every message is masked, and the masks cancel in the sum over all hospitals. `strategies/masks.py`
has the arithmetic, and says how it differs from real systems. Modelled times do not include the
making of masks.

With two hospitals, each can compute the other one's weights from the average and its own weights.
"""

import numpy as np

from lablib.strategies import federated, masks, tensorflow_hospital
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.tensorflow_hospital import Hospital, put

STRATEGY = Strategy(
    name="secure_aggregation",
    framework="tensorflow",
    family="federated",
    about="As fedavg; in addition, pairs of hospitals mask their weights with random numbers that "
    "cancel in the sum, so that only the average can be read.",
    read=masks.READ,
    splits="nothing",
    least_ranks=2,
    options=masks.OPTIONS,
    fits=masks.fits,
    synchronous=False,
    step_is_epoch=True,
)


def train(me, job: Job) -> dict:
    import tensorflow as tf

    hospital = Hospital(me, job)

    @tf.function
    def summed(mine):
        return hospital.strategy.run(tensorflow_hospital.sums_over_ranks, args=([mine],))[0]

    def all_reduce(numbers):
        # Collectives have no uint32; both types wrap alike.
        return summed(tf.constant(numbers.view(np.int32))).numpy().view(np.uint32)

    seeds = masks.agree(me.rank, me.ranks, all_reduce)

    def average(now):
        mine = np.concatenate([weight.numpy().ravel() for weight in hospital.weights])
        bits = job.options["fraction_bits"]
        mean = masks.average(mine, now, me.rank, seeds, bits, all_reduce)
        ends = np.cumsum([weight.numpy().size for weight in hospital.weights])
        for weight, part in zip(hospital.weights, np.split(mean, ends[:-1])):
            weight.assign(part.reshape(weight.shape))
        return float(np.linalg.norm(mine - mean) / np.linalg.norm(mean))

    return hospital.result(federated.train(me, job, put, hospital.learning(), average))


def expected(task, ranks, batch, skew=None, local_epochs=1, drop=0.0, fraction_bits=20) -> Expected:
    """Return what a round sends and holds if no hospital misses it.

    If one does, the masks that are revealed take as many bytes again.
    """
    return tensorflow_hospital.expected(task, ranks, batch, skew, local_epochs, kept=0, early=0)

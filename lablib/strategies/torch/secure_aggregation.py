"""Secure aggregation: federated averaging in which nobody sees the weights of one hospital.

Every message is masked, and the masks cancel in the sum over all hospitals. `strategies/masks.py`
has the arithmetic, and says how it differs from real systems. Modelled times do not include the
making of masks.

With two hospitals, each can compute the other one's weights from the average and its own weights.
"""

import numpy as np

from lablib.strategies import federated, masks, torch_hospital
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.torch_hospital import Hospital

STRATEGY = Strategy(
    name="secure_aggregation",
    framework="torch",
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
    only_computed="its masks follow from keys that the hospitals exchange",
)


def train(me, job: Job) -> dict:
    import torch.distributed as dist

    def all_reduce(numbers):
        total = me.put(numbers.astype(np.int32))  # backends have no uint32; both types wrap alike
        dist.all_reduce(total)
        return total.cpu().numpy().view(np.uint32)

    hospital = Hospital(me, job)
    seeds = masks.agree(me.rank, me.ranks, all_reduce)

    def average(now):
        mine = hospital.weights.clone()
        weights, bits = mine.cpu().numpy(), job.options["fraction_bits"]
        mean = masks.average(weights, now, me.rank, seeds, bits, all_reduce)
        hospital.weights.copy_(me.put(mean))
        return torch_hospital.drift(mine, hospital.weights)

    return hospital.result(federated.train(me, job, me.put, hospital.learn, average))


def expected(task, ranks, batch, skew=None, local_epochs=1, drop=0.0, fraction_bits=20) -> Expected:
    """Return what a round sends and holds if no hospital misses it.

    If one does, the masks that are revealed take as many bytes again.
    """
    return torch_hospital.expected(task, ranks, batch, skew, local_epochs, sent=1, kept=0)

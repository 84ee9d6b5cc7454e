"""Federated averaging: hospitals train on their own records, and their weights are averaged.

The mean is weighted by the number of records of each hospital.
"""

from lablib.strategies import federated, tensorflow_hospital
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.tensorflow_hospital import Hospital, put

STRATEGY = Strategy(
    name="fedavg",
    framework="tensorflow",
    family="federated",
    about="Every rank is a hospital with its own records and a copy of the model; after several "
    "epochs on its records, the weights are averaged by all-reduce.",
    read="McMahan et al. 2017, Communication-efficient learning of deep networks from "
    "decentralized data, https://arxiv.org/abs/1602.05629",
    splits="nothing",
    options=federated.OPTIONS,
    fits=federated.fits,
    synchronous=False,
    step_is_epoch=True,
)


def train(me, job: Job) -> dict:
    hospital = Hospital(me, job)
    losses = federated.train(me, job, put, hospital.learning(), hospital.average)
    return hospital.result(losses)


def expected(task, ranks, batch, skew=None, local_epochs=1, drop=0.0) -> Expected:
    return tensorflow_hospital.expected(task, ranks, batch, skew, local_epochs, kept=0, early=0)

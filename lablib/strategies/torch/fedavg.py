"""Federated averaging: hospitals train on their own records, and their weights are averaged.

The mean is weighted by the number of records of each hospital.
"""

from lablib.strategies import federated
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.torch_hospital import Hospital

STRATEGY = Strategy(
    name="fedavg",
    framework="torch",
    family="federated",
    about="Every rank is a hospital with its own records and a copy of the model; after several "
    "epochs on its records, the weights are averaged by all-reduce.",
    read="McMahan et al. 2017, Communication-efficient learning of deep networks from "
    "decentralized data, https://arxiv.org/abs/1602.05629",
    splits="nothing",
    options=federated.OPTIONS,
    fits=federated.fits,
    synchronous=False,
)


def train(me, job: Job) -> dict:
    hospital = Hospital(me, job)
    losses = federated.train(
        me, job, me.put, hospital.learn, lambda now: hospital.average(now, me.rank)
    )
    return hospital.result(me, losses)

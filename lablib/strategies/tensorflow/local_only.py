"""Every hospital trains its own model on its own records, and nothing is sent.

The comparison for federated training: what a hospital can learn alone. Each rank returns its
weights, named "hospital 0: 0.dense.kernel" and so on.
"""

from dataclasses import replace

from lablib.strategies import federated, tensorflow_hospital
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.tensorflow_hospital import Hospital, put

STRATEGY = Strategy(
    name="local_only",
    framework="tensorflow",
    family="federated",
    about="Every rank is a hospital that trains a model of its own on its own records; nothing "
    "is sent.",
    read="McMahan et al. 2017, Communication-efficient learning of deep networks from "
    "decentralized data, https://arxiv.org/abs/1602.05629",
    splits="nothing",
    options={"skew": None},
    fits=federated.fits,
    synchronous=False,
    step_is_epoch=True,
)


def train(me, job: Job) -> dict:
    hospital = Hospital(me, job)
    alone = replace(job, options=federated.OPTIONS | job.options)
    losses = federated.train(me, alone, put, hospital.learning(), average=lambda now: None)
    weights = federated.named(me.rank, job.task.tensorflow_arrays(hospital.model))
    return {"losses": losses, "weights": weights}


def expected(task, ranks, batch, skew=None) -> Expected:
    return Expected({}, 0, tensorflow_hospital.training_bytes(task, ranks, batch, skew))

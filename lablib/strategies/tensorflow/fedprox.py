"""FedProx: federated averaging that pulls each hospital's weights towards the last average.

The gradient of the penalty mu/2 |w - w_average|^2 is added to the gradients of each mini-batch.
The returned losses do not include the penalty. mu=0 is `fedavg`.
"""

from lablib.strategies import federated, tensorflow_hospital
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.tensorflow_hospital import Hospital, put

STRATEGY = Strategy(
    name="fedprox",
    framework="tensorflow",
    family="federated",
    about="As fedavg; in addition, a penalty keeps the weights of a hospital near the last "
    "average while it trains.",
    read="Li et al. 2020, Federated optimization in heterogeneous networks, "
    "https://arxiv.org/abs/1812.06127",
    splits="nothing",
    options=federated.FEDPROX_OPTIONS,
    fits=federated.fits,
    synchronous=False,
    step_is_epoch=True,
)


def train(me, job: Job) -> dict:
    import tensorflow as tf

    hospital, mu = Hospital(me, job), job.options["mu"]
    starts = [tf.Variable(weight) for weight in hospital.weights]

    def pull_back(gradients):
        both = zip(hospital.weights, starts)
        return [g + mu * (weight - start) for g, (weight, start) in zip(gradients, both)]

    def average(now):
        drift = hospital.average(now)
        for weight, start in zip(hospital.weights, starts):
            start.assign(weight)
        return drift

    learn = hospital.learning(pull_back)
    return hospital.result(federated.train(me, job, put, learn, average))


def expected(task, ranks, batch, skew=None, local_epochs=1, drop=0.0, mu=0.1) -> Expected:
    return tensorflow_hospital.expected(task, ranks, batch, skew, local_epochs, kept=1, early=1)

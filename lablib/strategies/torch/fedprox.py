"""FedProx: federated averaging that pulls each hospital's weights towards the last average.

The gradient of the penalty mu/2 |w - w_average|^2 is added to the gradients of each mini-batch.
The returned losses do not include the penalty. mu=0 is `fedavg`.
"""

from lablib.strategies import federated, torch_hospital
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.torch_hospital import Hospital

STRATEGY = Strategy(
    name="fedprox",
    framework="torch",
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
    hospital = Hospital(me, job)
    start = hospital.weights.clone()

    def pull_back():
        hospital.gradients.add_(hospital.weights - start, alpha=job.options["mu"])

    def learn(x, y):
        return hospital.learn(x, y, pull_back)

    def average(now):
        drift = hospital.average(now)
        start.copy_(hospital.weights)
        return drift

    return hospital.result(federated.train(me, job, me.put, learn, average))


def expected(task, ranks, batch, skew=None, local_epochs=1, drop=0.0, mu=0.1) -> Expected:
    return torch_hospital.expected(task, ranks, batch, skew, local_epochs, sent=1, kept=1)

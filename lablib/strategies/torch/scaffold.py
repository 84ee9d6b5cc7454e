"""SCAFFOLD: federated averaging whose hospitals correct the direction in which they drift.

Every hospital estimates its own mean gradient (`own`) and that of all hospitals (`shared`). It adds
the difference to the gradients of each mini-batch, so that it moves as if it had all records. The
estimates are those of option II in the paper: the mean gradient over a round follows from how far
the weights have moved. They are sent together with the weights.
"""

from lablib.strategies import federated, torch_hospital
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.torch_hospital import Hospital

STRATEGY = Strategy(
    name="scaffold",
    framework="torch",
    family="federated",
    about="As fedavg; in addition, hospitals share estimates of their mean gradients, with which "
    "they correct their own direction. This sends twice the bytes.",
    read="Karimireddy et al. 2020, SCAFFOLD: Stochastic controlled averaging for federated "
    "learning, https://arxiv.org/abs/1910.06378",
    splits="nothing",
    options=federated.OPTIONS,
    fits=federated.fits,
    synchronous=False,
    step_is_epoch=True,
)


class CorrectedHospital(Hospital):
    """A hospital with control variates.

    start    the last average of the weights
    own      estimate of the mean gradient over the hospital's records
    shared   estimate of the mean gradient over all records
    """

    def __init__(self, me, job: Job):
        super().__init__(me, job)
        self.start = self.weights.clone()
        self.own = self.weights.new_zeros(len(self.weights))
        self.shared = self.own.clone()
        self.mini_batches = 0

    def learn(self, x, y):
        self.mini_batches += 1
        return super().learn(x, y, self.correct)

    def correct(self):
        self.gradients += self.shared
        self.gradients -= self.own

    def average(self, now: federated.Round) -> float:
        import torch
        import torch.distributed as dist

        rank = self.me.rank
        sums = torch.cat([self.weights, self.change_of_own()])
        average, change = sums.chunk(2)  # two views
        self.own += change
        average *= now.shares[rank]
        change *= now.records[rank] / sum(now.records)  # so that `shared` is the mean of all `own`
        dist.all_reduce(sums)
        self.shared += change
        drift = torch_hospital.drift(self.weights, average)
        self.weights.copy_(average)
        self.start.copy_(average)
        self.mini_batches = 0
        return drift

    def change_of_own(self):
        """Return by how much `own` changes; zeros if the hospital has missed the round."""
        if self.mini_batches == 0:
            return self.own.new_zeros(len(self.own))
        moved = self.start - self.weights
        return moved / (self.mini_batches * self.task.lr) - self.shared


def train(me, job: Job) -> dict:
    hospital = CorrectedHospital(me, job)
    losses = federated.train(me, job, me.put, hospital.learn, hospital.average)
    return hospital.result(losses)


def expected(task, ranks, batch, skew=None, local_epochs=1, drop=0.0) -> Expected:
    return torch_hospital.expected(task, ranks, batch, skew, local_epochs, sent=2, kept=3)

"""Wrong versions of federated training, each of which differs in one thing from the right one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lablib.strategies import federated
from lablib.strategies.torch.scaffold import CorrectedHospital
from lablib.strategies.torch_hospital import Hospital


def trains(hospital, me, job, learn=None, average=None):
    losses = federated.train(me, job, me.put, learn or hospital.learn, average or hospital.average)
    # All ranks return their weights, so that tests can compare them.
    return {"losses": losses, "weights": job.task.torch_arrays(hospital.model)}


def right(me, job):
    """Train as `fedavg`."""
    return trains(Hospital(me, job), me, job)


def mean_without_sizes(me, job):
    """Average the hospitals as if all had the same number of records."""
    hospital = Hospital(me, job)

    def average(now):
        return hospital.average(replace(now, shares=(1 / me.ranks,) * me.ranks))

    return trains(hospital, me, job, average=average)


def absent_hospitals_count(me, job):
    """Average also the weights of hospitals that missed the round."""
    hospital = Hospital(me, job)

    def average(now):
        shares = np.array(now.records) / sum(now.records)
        return hospital.average(replace(now, shares=tuple(shares)))

    return trains(hospital, me, job, average=average)


def absent_hospitals_keep_their_weights(me, job):
    hospital = Hospital(me, job)

    def average(now):
        mine = hospital.weights.clone()
        drift = hospital.average(now)
        if not now.shares[me.rank]:
            hospital.weights.copy_(mine)
        return drift

    return trains(hospital, me, job, average=average)


def averages_after_every_epoch(me, job):
    return right(me, replace(job, options={**job.options, "local_epochs": 1}))


def averages_each_array(me, job):
    """Send a message for each array of weights."""
    import torch.distributed as dist

    hospital = Hospital(me, job)

    def average(now):
        for weight in hospital.model.parameters():
            weight.data *= now.shares[me.rank]
            dist.all_reduce(weight.data)

    return trains(hospital, me, job, average=average)


def sends_its_records(me, job):
    """Average right, but gather all records as well."""
    import torch
    import torch.distributed as dist

    hospital = Hospital(me, job)

    def average(now):
        x, _ = me.put(job.batch_at(0))
        dist.all_gather([torch.empty_like(x) for _ in range(me.ranks)], x)
        return hospital.average(now)

    return trains(hospital, me, job, average=average)


def averages_after_every_mini_batch(me, job):
    """Average inside an epoch, although hospitals have different numbers of mini-batches."""
    hospital = Hospital(me, job)
    even = federated.Round(0, (1 / me.ranks,) * me.ranks, (1,) * me.ranks)

    def learn(x, y):
        loss = hospital.learn(x, y)
        hospital.average(even)
        return loss

    return trains(hospital, me, job, learn, average=lambda now: None)


def keeps_its_forward_passes(me, job):
    """Train right, but keep the graphs of all mini-batches of a step."""
    hospital, kept = Hospital(me, job), []

    def learn(x, y):
        loss = job.task.torch_loss(hospital.model(x), y)
        hospital.gradients.zero_()
        loss.backward(retain_graph=True)
        hospital.weights.sub_(hospital.gradients, alpha=job.task.lr)
        kept.append(loss)
        return loss.detach()

    return trains(hospital, me, job, learn)


def pulls_towards_its_own_weights(me, job):
    """FedProx whose penalty is always zero: it measures the distance from the current weights."""
    hospital = Hospital(me, job)

    def pull_back():
        start = hospital.weights.clone()
        hospital.gradients.add_(hospital.weights - start, alpha=job.options["mu"])

    return trains(hospital, me, job, lambda x, y: hospital.learn(x, y, pull_back))


class _WrongSign(CorrectedHospital):
    def correct(self):
        self.gradients -= self.shared
        self.gradients += self.own


class _Uncorrected(CorrectedHospital):
    def correct(self):
        pass


def corrects_with_the_wrong_sign(me, job):
    return trains(_WrongSign(me, job), me, job)


def sends_estimates_and_uses_none(me, job):
    return trains(_Uncorrected(me, job), me, job)

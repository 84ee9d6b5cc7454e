"""3.1, hidden from learners: other cases, other right answers, wrong answers."""

import random

import numpy as np

from lablib.teach.exercise import find

case_of = find("3.1").module.case_of


def cases(seed):
    return [case_of(seed, samples=64, ranks=2), case_of(seed + 1, samples=2, ranks=5)]


def share(order, rank, ranks, tail):
    """Return every ranks-th number of an order, after padding or cutting its tail."""
    if tail == "pad":
        order = np.resize(order, -(-len(order) // ranks) * ranks)
    if tail == "drop":
        order = order[: len(order) // ranks * ranks]
    return order[rank::ranks]


def every_ranks_th(samples, rank, ranks, epoch, seed, tail):
    order = np.random.default_rng([seed, epoch]).permutation(samples)
    return share(order, rank, ranks, tail)


def one_piece_each(samples, rank, ranks, epoch, seed, tail):
    order = list(range(samples))
    random.Random(f"{seed} in epoch {epoch}").shuffle(order)
    if tail == "pad":
        order = [order[place % samples] for place in range(samples + -samples % ranks)]
    elif tail == "drop":
        del order[samples - samples % ranks :]
    return order[rank * len(order) // ranks : (rank + 1) * len(order) // ranks]


def distributed_sampler(samples, rank, ranks, epoch, seed, tail):
    from torch.utils.data import DistributedSampler

    drop = tail == "drop"
    sampler = DistributedSampler(range(samples), ranks, rank, seed=seed, drop_last=drop)
    sampler.set_epoch(epoch)
    return list(sampler)


def epoch_forgotten(samples, rank, ranks, epoch, seed, tail):
    return every_ranks_th(samples, rank, ranks, 0, seed, tail)


def never_shuffled(samples, rank, ranks, epoch, seed, tail):
    return share(np.arange(samples), rank, ranks, tail)


def a_shuffle_of_its_own(samples, rank, ranks, epoch, seed, tail):
    order = np.random.default_rng([seed, epoch, rank]).permutation(samples)
    return share(order, rank, ranks, tail)


def shuffles_within_its_shard(samples, rank, ranks, epoch, seed, tail):
    mine = never_shuffled(samples, rank, ranks, epoch, seed, tail)
    return np.random.default_rng([seed, epoch]).permutation(mine)


def everything_everywhere(samples, rank, ranks, epoch, seed, tail):
    return np.random.default_rng([seed, epoch]).permutation(samples)


def pads_with_sample_0(samples, rank, ranks, epoch, seed, tail):
    order = np.random.default_rng([seed, epoch]).permutation(samples)
    if tail == "pad":
        order = np.append(order, np.zeros(-samples % ranks, int))
    return share(order, rank, ranks, tail)


def another_shuffle_each_call(samples, rank, ranks, epoch, seed, tail):
    return share(np.random.permutation(samples), rank, ranks, tail)


RIGHT = [every_ranks_th, one_piece_each]
WRONG = {
    "DistributedSampler, which keeps no uneven tail": distributed_sampler,
    "forgets the epoch": epoch_forgotten,
    "never shuffles": never_shuffled,
    "every rank shuffles for itself": a_shuffle_of_its_own,
    "shuffles within its own shard only": shuffles_within_its_shard,
    "all data on every rank": everything_everywhere,
    "pads with sample 0": pads_with_sample_0,
    "another shuffle with each call": another_shuffle_each_call,
}

"""1.1, hidden from learners: other cases, other right answers, wrong answers."""

import numpy as np

from lablib.teach.exercise import find

case_of = find("1.1").module.case_of


def cases(seed):
    return [case_of(seed, 23, ranks=5), case_of(seed + 1, 2, ranks=3), case_of(seed + 2, 6, 1)]


def first_ranks_get_one_more(samples, rank, ranks):
    size, longer = divmod(len(samples), ranks)
    start = rank * size + min(rank, longer)
    return samples[start : start + size + (rank < longer)]


def every_ranks_th(samples, rank, ranks):
    return samples[rank::ranks]


def between_rounded_bounds(samples, rank, ranks):
    start, stop = (len(samples) * edge // ranks for edge in (rank, rank + 1))
    return list(samples[start:stop])


def drops_the_remainder(samples, rank, ranks):
    size = len(samples) // ranks
    return samples[rank * size : (rank + 1) * size]


def rounds_up(samples, rank, ranks):
    size = -(-len(samples) // ranks)
    return samples[rank * size : (rank + 1) * size]


def remainder_to_the_last(samples, rank, ranks):
    size = len(samples) // ranks
    return samples[rank * size : None if rank == ranks - 1 else (rank + 1) * size]


def pads_with_the_first(samples, rank, ranks):
    padded = np.concatenate([samples, samples[: -len(samples) % ranks]])
    return padded[rank::ranks]


RIGHT = [first_ranks_get_one_more, every_ranks_th, between_rounded_bounds]
WRONG = {
    "drops what is left over": drops_the_remainder,
    "rounds up, so that the last rank gets too little": rounds_up,
    "gives the last rank all that is left over": remainder_to_the_last,
    "fills up with samples that others have": pads_with_the_first,
    "all data on every rank": lambda samples, rank, ranks: samples,
    "all data on rank 0": lambda samples, rank, ranks: samples if rank == 0 else samples[:0],
    "knows the sizes of 10 samples on 4 ranks": lambda samples, rank, ranks: samples[
        [0, 3, 6, 8][rank % 4] : [3, 6, 8, 10][rank % 4]
    ],
}

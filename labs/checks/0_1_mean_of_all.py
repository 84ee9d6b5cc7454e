"""0.1 The mean of numbers that are spread unevenly over the ranks."""

import numpy as np

from lablib.teach.claims import RANK, Claim, equal_by_rank
from lablib.teach.exercise import Case

ANSWERS = ("mean_of_all(mine)",)
TITLE = "The mean of all ranks' numbers"
POINTS = 2

_MOST_BYTES = 64
_MEAN = (
    "Try it by hand: one rank has the single number 5, another has 1, 1 and 1. What is their mean?",
    "The mean of all is the sum of all over the count of all. Both can be added up over the ranks.",
)
_FEW = ("A sum and a count are two numbers. Nobody has to see the others' own numbers.",)


def cases(seed):
    return [case_of(seed, [3, 3, 2, 2]), case_of(seed + 1, [1, 40])]


def case_of(seed, sizes):
    rng = np.random.default_rng(seed)
    own = tuple({"mine": rng.normal(3, 1 + rank, n).astype(np.float32)}
                for rank, n in enumerate(sizes))  # fmt: skip
    return Case(f"{' + '.join(map(str, sizes))} numbers on {len(sizes)} ranks", own=own,
                ranks=len(sizes))  # fmt: skip


def observe(me, answer, given):
    import torch

    return float(answer(torch.from_numpy(given.mine)))


def judge(case, seen):
    mean = float(np.concatenate([own["mine"] for own in case.own]).mean(dtype=float))
    yield equal_by_rank("every rank returns the mean of all numbers", [mean] * case.ranks,
                        seen.values, weight=3, hints=_MEAN)  # fmt: skip
    for rank in range(case.ranks):
        nbytes = sum(size for _, size in seen.collectives(rank))
        if nbytes > _MOST_BYTES:
            break
    yield Claim("no rank passes on more than a few numbers", nbytes <= _MOST_BYTES,
                f"at most {_MOST_BYTES} B", f"{nbytes} B", rank, _FEW, RANK)  # fmt: skip

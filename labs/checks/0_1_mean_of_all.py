"""0.1 Compute the mean of numbers that are spread unevenly over the ranks."""

import numpy as np

from lablib.teach.claims import Claim, alike, equal_by_rank
from lablib.teach.exercise import Case

ANSWERS = ("mean_of_all(mine)",)
TITLE = "The mean of all ranks' numbers"
POINTS = 2

_MOST_BYTES = 64
_MEAN = (
    "Try it by hand: one rank has the single number 5, another has 1, 1 and 1. What is their mean?",
    "The mean of all numbers is their sum divided by their count. Ranks can add up both.",
)
_NOTHING = ("A rank got None back. Does your function end with return on every rank?",)
_OWN = (
    "A rank still has the mean of its own numbers. It needs a message to get the others' numbers.",
    "After an all-reduce every rank has a sum over all ranks. Which two sums do you need?",
)
_SUM = (
    "This is the sum of all numbers. What must you still do to turn it into a mean?",
    "Divide by the count of the numbers on all ranks. No rank knows this count: sum it, too.",
)
_ONE_RANK = (
    "Rank 0 has the mean; the others do not. Which collective leaves the sum on every rank?",
    "A reduce gives the sum to one rank. An all-reduce gives it to all ranks.",
)
_FEW = ("A sum and a count are two numbers. No rank needs to see the other ranks' numbers.",)


def cases(seed):
    return [case_of(seed, [3, 3, 2, 2]), case_of(seed + 1, [1, 40])]


def case_of(seed, sizes):
    rng = np.random.default_rng(seed)
    own = tuple({"mine": rng.normal(3, 1 + rank, n).astype(np.float32)}
                for rank, n in enumerate(sizes))  # fmt: skip
    return Case(f"{' + '.join(map(str, sizes))} numbers on {len(sizes)} ranks", own=own,
                ranks=len(sizes), relay=True)  # fmt: skip


def observe(me, answer, given):
    import torch

    mean = answer(torch.from_numpy(given.mine))
    return mean.item() if isinstance(mean, torch.Tensor) and mean.numel() == 1 else mean


def judge(case, seen):
    mean = float(np.concatenate([own["mine"] for own in case.own]).mean(dtype=float))
    yield equal_by_rank("every rank returns the mean of all numbers", [mean] * case.ranks,
                        seen.values, weight=3, hints=_hints(case, seen.values))  # fmt: skip
    for rank in range(case.ranks):
        nbytes = sum(size for _, _, size in seen.put_in(rank))
        if nbytes > _MOST_BYTES:
            break
    yield Claim("no rank sends more than a few numbers", nbytes <= _MOST_BYTES,
                f"at most {_MOST_BYTES} B", f"{nbytes} B", rank, _FEW, seen.evidence)  # fmt: skip


def _hints(case, values):
    """Return the hints that fit the mistake behind rank 0's value."""
    if None in values:
        return _NOTHING
    numbers = [own["mine"] for own in case.own]
    every = np.concatenate(numbers)
    known = (
        (numbers[0].mean(dtype=float), _OWN),
        (every.sum(dtype=float), _SUM),
        (every.mean(dtype=float), _ONE_RANK),
    )
    return next((hints for value, hints in known if alike(value, values[0])), _MEAN)

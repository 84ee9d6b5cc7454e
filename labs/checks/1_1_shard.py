"""1.1 Divide samples among ranks: each on exactly one rank, sizes that differ by at most 1."""

from collections import Counter

import numpy as np

from lablib.teach.claims import Claim, equal
from lablib.teach.exercise import Case

ANSWERS = ("my_shard(samples, rank, ranks)",)
TITLE = "Share samples out"
POINTS = 2

_LEFT_OUT = (
    "Some samples are on no rank. What happens to the remainder of the division?",
    "With n samples on R ranks, n % R ranks need one sample more than n // R.",
)
_TWICE = (
    "Some samples are on several ranks. Where must a rank's part begin to avoid overlap?",
    "Print the first and the last index of every rank's part for 10 samples on 4 ranks.",
)
_SIZES = (
    "The rank with the most samples sets the pace. Can it give one to a rank that has fewer?",
    "If all ranks round n / R up, the last one gets too few. Give one more only to some ranks.",
)


def cases(seed):
    return [case_of(seed, 10, ranks=4), case_of(seed + 1, 3, ranks=4), case_of(seed + 2, 9, 3)]


def case_of(seed, samples, ranks):
    drawn = np.random.default_rng(seed).normal(size=(samples, 2)).astype(np.float32)
    return Case(f"{samples} samples on {ranks} ranks", {"samples": drawn}, ranks=ranks)


def observe(me, answer, given):
    return answer(given.samples, me.rank, me.ranks)


def judge(case, seen):
    shards = [np.asarray(value, np.float32) for value in seen.values]
    held = Counter(row.tobytes() for shard in shards for row in shard)
    due = Counter(row.tobytes() for row in case.shared["samples"])
    missing, more = (due - held).total(), (held - due).total()
    saw = f"{missing} samples on no rank, {more} surplus copies"
    hints = _LEFT_OUT if missing else _TWICE
    yield Claim("every sample is on exactly one rank", not missing and not more,
                f"{due.total()} samples, each once", saw, hints=hints)  # fmt: skip
    sizes = sorted(map(len, shards), reverse=True)
    less, longer = divmod(due.total(), case.ranks)
    even = [less + 1] * longer + [less] * (case.ranks - longer)
    text = "the ranks' numbers of samples differ by at most one"
    yield equal(text, even, sizes, hints=_SIZES)

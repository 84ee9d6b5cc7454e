"""3.1 Choose the samples of a rank in an epoch: shuffled, shared out, with an uneven tail."""

from collections import Counter

import numpy as np

from lablib.teach.claims import Claim, equal, show
from lablib.teach.exercise import Case

ANSWERS = ("sample_numbers(samples, rank, ranks, epoch, seed, tail)",)
TITLE = "A sampler"
POINTS = 4
TAILS = ("pad", "drop", "keep")
_ENOUGH_TO_TELL = 20  # two shuffles of fewer samples may be equal by chance

_SHARE = (
    "Write down one order of all samples that every rank agrees on. Which of them go to rank 0?",
    "Rank r can take every ranks-th sample of that order, starting at position r.",
)
_TAIL = {
    "pad": (
        "How many samples are missing until all ranks get equally many? May one rank get fewer?",
        "Repeat the order from its beginning, as often as needed; then share it out.",
    ),
    "drop": ("How long must the order be so that all ranks get equally many samples?",),
    "keep": ("No sample is repeated or left out. What does slicing do at the end of the list?",),
}
_SHUFFLE = (
    "The order of an epoch must not depend on the rank, nor on earlier random numbers.",
    "In each call make a new generator from seed and epoch, and shuffle all samples with it.",
)


def cases(seed):
    return [case_of(seed, samples=42, ranks=4), case_of(seed + 1, samples=3, ranks=4)]


def case_of(seed, samples, ranks):
    # The answer must not know the seed of the cases, so give it another number.
    drawn = int(np.random.default_rng(seed).integers(2**31))
    shared = {"samples": samples, "seed": drawn}
    return Case(f"{samples} samples on {ranks} ranks", shared=shared, ranks=ranks)


def observe(me, answer, given):
    def numbers(epoch, tail, seed=given.seed):
        return [int(n) for n in answer(given.samples, me.rank, me.ranks, epoch, seed, tail)]

    told = {tail: numbers(0, tail) for tail in TAILS}
    later = {"next": numbers(1, "keep"), "other": numbers(0, "keep", given.seed + 7)}
    return told | later | {"again": numbers(0, "keep")}


def judge(case, seen):
    for tail in TAILS:
        yield shared_out(tail, [value[tail] for value in seen.values], case)
    yield equal(
        "the same epoch asked for again has the same samples",
        [value["keep"] for value in seen.values], [value["again"] for value in seen.values],
        hints=_SHUFFLE,
    )  # fmt: skip
    if case.shared["samples"] >= _ENOUGH_TO_TELL:
        yield from shuffled(seen.values)


def shared_out(tail, by_rank, case):
    """Check that all ranks together have the right samples, in shares that fit the tail."""
    samples, ranks = case.shared["samples"], case.ranks
    padded, even = -(-samples // ranks) * ranks, samples // ranks * ranks
    due, apart = {"pad": (padded, 0), "drop": (even, 0), "keep": (samples, 1)}[tail]
    sizes, times = [len(numbers) for numbers in by_rank], Counter()
    for numbers in by_rank:
        times.update(numbers)
    counts = [times[number] for number in range(samples)]
    known = sum(counts) == sum(sizes)  # True if every number is the number of a sample
    fits = sum(sizes) == due and max(sizes) - min(sizes) <= apart
    fair = max(counts) - min(counts) <= 1 and (tail == "pad" or max(counts) <= 1)
    text = {
        "pad": "pad: equal shares, every sample at least once, none much more often",
        "drop": "drop: equal shares, no sample twice, as few left out as possible",
        "keep": "keep: every sample exactly once, shares differ by at most one",
    }[tail]
    saw = (
        f"{counts.count(0)} never, {sum(n > 1 for n in counts)} repeatedly; by rank {show(by_rank)}"
    )
    return Claim(
        text, known and fits and fair, f"{due} numbers in all", f"{sum(sizes)}, samples {saw}",
        hints=_SHARE if fits or sum(sizes) > padded else _TAIL[tail],
    )  # fmt: skip


def shuffled(values):
    first, later, other = ([v[key] for v in values] for key in ("keep", "next", "other"))
    in_order = [sorted(numbers) for numbers in first]
    yield Claim("the samples are shuffled", first != in_order, saw=show(first[0]), hints=_SHUFFLE)
    for text, orders in (("the next epoch", later), ("another seed", other)):
        moved = all(set(a) != set(b) for a, b in zip(first, orders, strict=True))
        yield Claim(f"{text} gives every rank other samples", moved,
                    saw=f"rank 0: {show(first[0])}, then {show(orders[0])}",
                    hints=_SHUFFLE)  # fmt: skip

"""1.3 Build a ring all-reduce from sends and receives: 2 (R-1) messages of n/R from each rank."""

import numpy as np

from lablib.teach.claims import Claim, equal_by_rank
from lablib.teach.exercise import Case

ANSWERS = ("ring_all_reduce(x, rank, ranks)",)
TITLE = "Ring all-reduce"
POINTS = 4

_SUM = (
    "What does the all-reduce leave on every rank? Print x before and after on each rank.",
    "In the first round each chunk collects its sum. In the second round the sums go around.",
)
_COUNT = (
    "How many messages does a rank send in each of the two rounds around the ring?",
    "Each round has R-1 hops, and in each hop a rank sends one chunk of n/R numbers.",
)
_NEIGHBOUR = (
    "A ring has one direction. Which rank is the neighbour of rank r, and of the last rank?",
    "Rank r always sends to (r + 1) % ranks and receives from the rank before it.",
)
_ALONE = ("Use only sends and receives: here you build yourself what a collective does.",)


def cases(seed):
    return [case_of(seed, ranks=4, numbers=40), case_of(seed + 1, ranks=3, numbers=12)]


def case_of(seed, ranks, numbers):
    rng = np.random.default_rng(seed)
    own = tuple({"x": rng.normal(size=numbers).astype(np.float32)} for _ in range(ranks))
    return Case(f"{numbers} numbers on {ranks} ranks", own=own, ranks=ranks, relay=True)


def observe(me, answer, given):
    import torch

    x = torch.from_numpy(given.x)
    returned = answer(x, me.rank, me.ranks)
    return x if returned is None else returned


def judge(case, seen):
    total = sum(own["x"] for own in case.own)
    yield equal_by_rank("every rank ends with the sum", [total] * case.ranks, seen.values,
                        weight=2, hints=_SUM)  # fmt: skip
    evidence, every = seen.evidence, range(case.ranks)
    used = {name for rank in every for name, _ in seen.collectives(rank)}
    yield Claim("only sends and receives are used", not used, "send and recv",
                ", ".join(sorted(used)), hints=_ALONE, evidence=evidence)  # fmt: skip
    hops, nbytes = 2 * (case.ranks - 1), total.nbytes // case.ranks
    sizes = [[size for _, _, size in seen.sent(rank)] for rank in every]
    yield equal_by_rank(f"every rank sends {hops} messages of {nbytes} B",
                        [[nbytes] * hops] * case.ranks, sizes, hints=_COUNT,
                        evidence=evidence)  # fmt: skip
    # A ring may go either way, but all ranks must send in the same direction.
    steps = {(to - source) % case.ranks for source, to, _ in seen.sent()}
    yield Claim("every message goes to the next rank of the ring",
                steps in ({1}, {case.ranks - 1}), "to the next rank",
                f"to ranks at these distances: {sorted(steps)}" if steps else "no message",
                hints=_NEIGHBOUR, evidence=evidence)  # fmt: skip

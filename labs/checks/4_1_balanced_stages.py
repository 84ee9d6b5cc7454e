"""4.1 Cut a chain of blocks into pipeline stages so that the slowest stage is fast."""

from itertools import combinations, pairwise

import numpy as np

from lablib.teach.claims import Claim, show, whole_numbers
from lablib.teach.exercise import Case

ANSWERS = ("cut_into_stages(costs, stages)",)
TITLE = "Balanced stages"
POINTS = 3

_FORM = (
    "Return one number for each stage, in order: the number of the stage's first block.",
    "The first number is 0, and each is larger than the one before it: no stage is empty.",
)
_SLOWEST = (
    "Add up the costs of each stage. Could the most costly stage give a block to a neighbour?",
    "If you close each stage as soon as it is full, a later stage may become too costly. Compare "
    "complete cuts instead: itertools.combinations lists them.",
)


def cases(seed):
    rng = np.random.default_rng(seed)
    return [
        Case("a costly end", {"costs": [1, 1, 1, 1, 2, 6], "stages": 3}),
        Case("two blocks are too much, one too little", {"costs": [5, 5, 5, 5, 2, 1], "stages": 3}),
        case_of(rng, blocks=11, stages=4),
    ]


def case_of(rng, blocks, stages):
    """Return a case in which one block, like an embedding, costs as much as several others."""
    costs = rng.integers(5, 10, blocks)
    costs[rng.integers(blocks)] = 15 + rng.integers(5)
    return Case(f"{blocks} blocks, {stages} stages", {"costs": costs.tolist(), "stages": stages})


def observe(me, answer, given):
    return answer(list(given.costs), given.stages)


def judge(case, seen):
    costs, stages = case.shared["costs"], case.shared["stages"]
    starts, best = whole_numbers(seen.values[0]), slowest(costs, best_cut(costs, stages))
    formed = well_formed(starts, len(costs), stages)
    yield Claim(f"{stages} stages, none of them empty, together all {len(costs)} blocks",
                formed, f"{stages} increasing block numbers, of which the first is 0",
                show(seen.values[0]), hints=_FORM)  # fmt: skip
    cost = slowest(costs, starts) if formed else None
    yield Claim(f"the slowest stage costs {best}: no cut does better", cost == best, str(best),
                f"{cost}, with stages that begin at {show(seen.values[0])}", weight=3,
                hints=_SLOWEST)  # fmt: skip


def well_formed(starts, blocks, stages):
    return (
        starts is not None
        and len(starts) == stages
        and all(0 <= start < blocks for start in starts)
        and starts[0] == 0
        and all(a < b for a, b in pairwise(starts))
    )


def slowest(costs, starts):
    return max(sum(costs[a:b]) for a, b in pairwise([*starts, len(costs)]))


def best_cut(costs, stages):
    cuts = ((0, *later) for later in combinations(range(1, len(costs)), stages - 1))
    return min(cuts, key=lambda starts: slowest(costs, starts))

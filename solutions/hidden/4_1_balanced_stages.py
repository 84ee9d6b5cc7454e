"""4.1, hidden from learners: other cases, other right answers, wrong answers."""

from functools import cache
from itertools import accumulate, combinations, pairwise

import numpy as np

from lablib.teach.exercise import Case, find

case_of = find("4.1").module.case_of


def cases(seed):
    rng = np.random.default_rng(seed)
    return [
        case_of(rng, blocks=14, stages=5),
        case_of(rng, blocks=9, stages=3),
        Case("as many stages as blocks", {"costs": rng.integers(1, 9, 4).tolist(), "stages": 4}),
        Case("one stage", {"costs": rng.integers(1, 9, 4).tolist(), "stages": 1}),
    ]


def tries_every_cut(costs, stages):
    def slowest(starts):
        return max(sum(costs[a:b]) for a, b in pairwise([*starts, len(costs)]))

    cuts = ([0, *later] for later in combinations(range(1, len(costs)), stages - 1))
    return min(cuts, key=slowest)


def dynamic_programme(costs, stages):
    before = [0, *accumulate(costs)]

    @cache
    def best(start, left):
        """Return (cost of the slowest stage, first blocks) for the blocks from `start` on."""
        if left == 1:
            return before[-1] - before[start], (start,)
        found = []
        for end in range(start + 1, len(costs) - left + 2):
            rest, starts = best(end, left - 1)
            found.append((max(before[end] - before[start], rest), (start, *starts)))
        return min(found)

    return list(best(0, stages)[1])


def smallest_limit(costs, stages):
    """Finds the least limit with which filling one stage after the other needs few enough."""
    limit = max(costs)
    while True:
        starts, filled = [0], 0
        for block, cost in enumerate(costs):
            # Also start a stage when only as many blocks as stages are left: each stage must get
            # one.
            must = len(costs) - block <= stages - len(starts)
            if block and (filled + cost > limit or must):
                starts, filled = [*starts, block], 0
            filled += cost
        if len(starts) <= stages:
            return starts
        limit += 1


def all_cuts_as_an_array(costs, stages):
    before = np.cumsum([0, *costs])
    later = list(combinations(range(1, len(costs)), stages - 1))
    cuts = np.array([(0, *starts, len(costs)) for starts in later])
    return cuts[np.diff(before[cuts], axis=1).max(1).argmin(), :-1]


def equal_numbers_of_blocks(costs, stages):
    return [stage * len(costs) // stages for stage in range(stages)]


def closes_a_stage_when_full(costs, stages):
    starts, filled, due = [0], 0, sum(costs) / stages
    for block, cost in enumerate(costs):
        left = len(costs) - block
        if block and len(starts) < stages and (filled + cost > due or left <= stages - len(starts)):
            starts, filled = [*starts, block], 0
        filled += cost
    return starts


def costs_of_the_stages(costs, stages):
    starts = [*tries_every_cut(costs, stages), len(costs)]
    return [sum(costs[a:b]) for a, b in pairwise(starts)]


PUBLIC = {(1, 1, 1, 1, 2, 6): [0, 4, 5], (5, 5, 5, 5, 2, 1): [0, 2, 3]}

RIGHT = [tries_every_cut, dynamic_programme, smallest_limit, all_cuts_as_an_array]
WRONG = {
    "equal numbers of blocks": equal_numbers_of_blocks,
    "closes a stage when it is full": closes_a_stage_when_full,
    "returns the costs, not the blocks": costs_of_the_stages,
    "hard-coded public results": lambda costs, stages: PUBLIC.get(tuple(costs), [0, 1, 2, 3]),
    "one stage has it all": lambda costs, stages: [0] + [len(costs) - 1] * (stages - 1),
}

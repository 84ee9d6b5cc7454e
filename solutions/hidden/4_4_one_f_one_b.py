"""4.4, hidden from learners: other cases, other right answers, wrong answers."""

import numpy as np

from lablib.teach.exercise import find

_module = find("4.4").module


def cases(seed):
    rng = np.random.default_rng(seed)
    few, equal, more = (int(number) for number in rng.integers(3, 7, size=3))
    return [
        _module.order_of(3, 4 + more),
        _module.order_of(1, 1 + more),
        _module.order_of(2 + equal, 2 + equal),
        _module.order_of(8, few),
        _module.run_of(seed, ranks=4, pieces=6),
    ]


def warm_up_and_pairs(stage, stages, pieces):
    ahead = min(stages - 1 - stage, pieces)
    return "F" * ahead + "FB" * (pieces - ahead) + "B" * ahead


def greedy(stage, stages, pieces):
    """Goes backward when it keeps `stages - stage` micro-batches."""
    order, forward, kept = "", 0, 0
    while len(order) < 2 * pieces:
        if forward < pieces and kept < stages - stage:
            order, forward, kept = order + "F", forward + 1, kept + 1
        else:
            order, kept = order + "B", kept - 1
    return order


def one_less_ahead(stage, stages, pieces):
    ahead = max(0, min(stages - 2 - stage, pieces))
    return "F" * ahead + "FB" * (pieces - ahead) + "B" * ahead


def same_on_all_stages(stage, stages, pieces):
    return warm_up_and_pairs(0, stages, pieces)


def forgets_short_batches(stage, stages, pieces):
    ahead = stages - 1 - stage
    return "F" * ahead + "FB" * (pieces - ahead) + "B" * ahead


RIGHT = [warm_up_and_pairs, greedy]
WRONG = {
    "GPipe": lambda stage, stages, pieces: "F" * pieces + "B" * pieces,
    "one micro-batch at a time": lambda stage, stages, pieces: "FB" * pieces,
    "one F too few ahead": one_less_ahead,
    "the first stage's order everywhere": same_on_all_stages,
    "more F than micro-batches": forgets_short_batches,
    "hard-coded for 4 stages and 8 micro-batches": lambda stage, stages, pieces: warm_up_and_pairs(
        stage, 4, 8
    ),
    "stages counted from the wrong end": lambda stage, stages, pieces: warm_up_and_pairs(
        stages - 1 - stage, stages, pieces
    ),
}

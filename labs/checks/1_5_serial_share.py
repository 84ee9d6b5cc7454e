"""1.5 Estimate how much of a step is serial from its duration on several numbers of ranks."""

import numpy as np

from lablib.teach.claims import Claim, real, show
from lablib.teach.exercise import Case

ANSWERS = ("serial_share(ranks, seconds)",)
TITLE = "The serial share"
POINTS = 3

_WITHIN = 0.03
_SECONDS = (
    "A share is a fraction of one rank's time: it has no unit and lies between 0 and 1.",
    "One rank takes serial + parallel seconds. Divide the serial seconds by that sum.",
)
_FIT = (
    "Write the law as seconds = a + b / ranks. What do a and b stand for?",
    "The law is a straight line over x = 1 / ranks. np.polyfit(x, y, 1) returns the slope of the "
    "line, then its value at x = 0.",
)
_FIRST = (
    "Does your answer assume that ranks[0] is 1? Here one rank was not measured.",
    "The law gives one rank's seconds: what is a + b / ranks for ranks = 1?",
)


def cases(seed):
    return [
        case_of(seed, 0.05, [1, 2, 4, 8], one_rank_s=0.2),
        case_of(seed + 1, 0.3, [1, 3, 16], one_rank_s=45.0),
        case_of(seed + 2, 0.12, [2, 4, 8, 32], one_rank_s=3.0),
    ]


def case_of(seed, share, ranks, one_rank_s):
    """Return a case with the steps of a job whose serial share is about `share`.

    The steps are measured to within 1 %.
    """
    rng = np.random.default_rng(seed)
    share *= rng.uniform(0.8, 1.5)
    off = 1 + rng.uniform(-0.01, 0.01, len(ranks))
    seconds = one_rank_s * (share + (1 - share) / np.array(ranks)) * off
    shared = {"ranks": ranks, "seconds": seconds.round(6).tolist()}
    return Case(f"steps measured on {', '.join(map(str, ranks))} ranks", shared)


def observe(me, answer, given):
    return answer(given.ranks, given.seconds)


def judge(case, seen):
    ranks, seconds = case.shared["ranks"], case.shared["seconds"]
    slope, serial_s = np.polyfit(1 / np.array(ranks), seconds, 1)
    due, got = serial_s / (serial_s + slope), real(seen.values[0])
    text, expected = f"the share is right within {_WITHIN}", f"about {due:.3f}"
    if got is None:
        yield Claim(text, False, expected, show(seen.values[0]), hints=_SECONDS)
        return
    no_share = not 0 <= got <= 1 or abs(got / serial_s - 1) < _WITHIN
    hints = _SECONDS if no_share else _FIT if 1 in ranks else _FIRST
    yield Claim(text, abs(got - due) <= _WITHIN, expected, show(got), hints=hints)

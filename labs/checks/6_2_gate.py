"""6.2 A gate that stops worse models and lets the others pass, judged by its rates of errors.

Champion and challenger answer the same samples, and mostly agree. So their difference is known far
better than either accuracy: a gate that compares two accuracies as if they came from different
samples lets worse models pass.
"""

import numpy as np

from lablib.teach.claims import Claim
from lablib.teach.exercise import Case

ANSWERS = ("gate(champion, challenger)",)
TITLE = "A gate that knows about noise"
POINTS = 5

EQUAL, WORSE, BETTER = "equally good", "worse", "better"
PAIRS = {EQUAL: 40, WORSE: 40, BETTER: 20}
MOST_WRONG = 0.2  # of the 40 pairs of a kind; a right gate makes about one error in 40
FAR = 4.3  # standard deviations of the paired difference between a worse model and an equal one

_FORM = ("Return one True or False: bool(...) makes one of a NumPy value.",)
_NOISE = (
    "Two equally good models never have exactly the same accuracy. How far apart may they be by "
    "chance alone? Does your gate allow for that, with few samples, too?",
    "Block only if the whole 95 % interval of the difference lies below 0. Its width depends on "
    "the number of samples: a fixed allowance cannot be right for 200 samples and for 3,000.",
)
_PAIRED = (
    "Is your interval too wide? Both models answered the same samples. Where they agree, they "
    "do not show which of them is better.",
    "Look at d = challenger.astype(float) - champion, which is -1, 0 or 1 for each sample. Its "
    "mean has the standard error d.std() / sqrt(n). Or draw the samples again, for both models "
    "together.",
)
_BETTER = ("A better model must pass. Which of the two differences do you look at?",)


def cases(seed):
    return [
        case_of(seed, samples=200, disagree=0.1, accuracy=0.85),
        case_of(seed + 1, samples=3000, disagree=0.02, accuracy=0.9),
    ]


def case_of(seed, samples, disagree, accuracy):
    """Pairs of models of three kinds in an order drawn from the seed. Only rank 1, which never
    calls the answer, knows the kinds."""
    rng = np.random.default_rng(seed)
    kinds = rng.permutation([kind for kind, number in PAIRS.items() for _ in range(number)])
    pairs = np.array([pair(rng, kind, samples, disagree, accuracy) for kind in kinds])
    return Case(
        f"{len(pairs)} pairs of models, {samples} samples",
        own=({"pairs": pairs}, {"kinds": kinds.tolist()}),
        ranks=2,
        timeout_s=60,
    )


def pair(rng, kind, samples, disagree, accuracy):
    """Return which answers of two models are right, [2, samples]; they disagree on few samples."""
    shift = {EQUAL: 0, WORSE: -1, BETTER: 1}[kind] * FAR * np.sqrt(disagree / samples)
    champion = rng.random(samples) < accuracy
    challenger = champion.copy()
    # The difference of the accuracies is disagree * (2 p - 1), where p is the challenger's part of
    # the samples on which exactly one of the two is right.
    differ = rng.random(samples) < disagree
    challenger_wins = rng.random(samples) < (1 + shift / disagree) / 2
    champion[differ] = ~challenger_wins[differ]
    challenger[differ] = challenger_wins[differ]
    return np.array([champion, challenger])


def observe(me, answer, given):
    if me.rank == 1:
        return None
    return [answer(champion.copy(), challenger.copy()) for champion, challenger in given.pairs]


def judge(case, seen):
    kinds, passed = case.own[1]["kinds"], seen.values[0]
    formed = len(passed) == len(kinds) and all(isinstance(p, (bool, np.bool_)) for p in passed)
    yield Claim("one True or False for each pair", formed, "True or False",
                str(next((p for p in passed if not isinstance(p, (bool, np.bool_))), "")),
                hints=_FORM)  # fmt: skip
    if not formed:
        return
    by_kind = {kind: [p for k, p in zip(kinds, passed) if k == kind] for kind in PAIRS}
    blocked = {kind: 1 - np.mean(those) for kind, those in by_kind.items()}
    let_through = 1 - blocked[WORSE]
    # A gate that makes one decision for all gets no points for the kind that it gets right.
    decides = blocked[EQUAL] < 0.5 and let_through < 0.5
    one_sided = _PAIRED if let_through >= 0.5 else _NOISE
    for text, wrong, hints in (
        ("equally good models pass", blocked[EQUAL], _NOISE),
        ("worse models are blocked", let_through, _PAIRED),
        ("better models pass", blocked[BETTER], _BETTER),
    ):
        yield Claim(f"{text}, with few errors", decides and wrong <= MOST_WRONG,
                    f"at most {MOST_WRONG:.0%} wrong decisions", told(blocked, let_through),
                    hints=hints if wrong > MOST_WRONG else one_sided)  # fmt: skip


def told(blocked, let_through):
    return (f"blocked {blocked[EQUAL]:.0%} of the equally good models and {blocked[BETTER]:.0%} of "
            f"the better ones, let {let_through:.0%} of the worse ones pass")  # fmt: skip

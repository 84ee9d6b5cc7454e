"""6.5 Promote or roll back, from what a canary's traffic shows: errors, accuracy and latency.

Judged over many canaries by the rates of both errors: healthy models that are rolled back, and
regressions that are missed.
"""

from types import SimpleNamespace

import numpy as np

from lablib.teach.claims import Claim
from lablib.teach.exercise import Case

ANSWERS = ("decide(champion, challenger)",)
TITLE = "Promote or roll back"
POINTS = 5

PROMOTE, ROLL_BACK = "promote", "roll back"
NUMBER = {"healthy": 60, "errors": 30, "accuracy": 30, "latency": 30, "no answer": 5}
MOST_WRONG = {"healthy": 0.2, "errors": 0.2, "accuracy": 0.2, "latency": 0.2, "no answer": 0.0}
FAR = 5.5  # standard deviations between a regression and a healthy challenger

_FORM = ('Return the text "promote" or the text "roll back".',)
_HINTS = {
    "healthy": (
        "Your rule rolls back healthy models. With 40 requests, how far from the champion's rates "
        "can a challenger be by chance alone?",
        "Compare each difference with its standard error, and roll back only beyond about 2.5 of "
        "them: with three comparisons at 2, chance alone rolls back one healthy model in 15.",
    ),
    "errors": (
        "Does your rule look at errors / requests? The champion gets more requests.",
        "z = (rate difference) / sqrt(p (1 - p) (1 / n1 + 1 / n2)), with p the error rate of both "
        "together.",
    ),
    "accuracy": (
        "A model can answer fast, without an error, and wrongly.",
        "Accuracy is correct / (requests - errors). Compare it as you compare the error rates.",
    ),
    "latency": (
        "Does your rule look at latencies_s? A few pauses of a second dominate a mean.",
        "Compare medians, or means of np.log(latencies_s), whose standard error is "
        "std / sqrt(n). Fixed limits fit one service only.",
    ),
    "no answer": ("What does your rule do if no request of the challenger was answered?",),
}


def cases(seed):
    return [
        case_of(seed, requests=60, error_rate=0.03, accuracy=0.92),
        case_of(seed + 1, requests=600, error_rate=0.02, accuracy=0.95),
    ]


def case_of(seed, requests, error_rate, accuracy):
    """Canaries in an order drawn from the seed. Only rank 1, which never calls the answer, knows
    which of them are healthy."""
    rng = np.random.default_rng(seed)
    kinds = rng.permutation([kind for kind, number in NUMBER.items() for _ in range(number)])
    canaries = [canary(rng, kind, requests, error_rate, accuracy) for kind in kinds]
    return Case(
        f"{len(kinds)} canaries of about {requests} requests",
        own=({"canaries": canaries}, {"kinds": kinds.tolist()}),
        ranks=2,
        timeout_s=60,
    )


def canary(rng, kind, about, error_rate, accuracy):
    """Return the observations of champion and challenger, which gets a fifth of the requests."""
    requests = int(about * rng.uniform(0.8, 1.2))
    scale_s = rng.uniform(0.002, 0.02)
    error = np.sqrt(1 / requests + 1 / (4 * requests))
    lost = FAR * error * np.sqrt(accuracy * (1 - accuracy)) if kind == "accuracy" else 0.0
    broken = error_rate
    if kind == "errors":  # at the higher rate, the noise is larger, too
        broken += FAR * error * np.sqrt(error_rate * (1 - error_rate)) + 1.5 * FAR / requests
    slower = np.exp(1.3 * FAR * error * SPREAD) if kind == "latency" else 1.0
    if kind == "no answer":
        broken = 1.0
    return [
        observed(rng, 4 * requests, error_rate, accuracy, scale_s),
        observed(rng, requests, broken, accuracy - 1.5 * lost, scale_s * slower),
    ]


SPREAD = 0.4  # standard deviation of the logarithm of a latency


def observed(rng, requests, error_rate, accuracy, scale_s):
    errors = rng.binomial(requests, error_rate)
    latencies_s = scale_s * np.exp(SPREAD * rng.normal(size=requests - errors))
    pauses = rng.random(len(latencies_s)) < 0.01  # such as a garbage collection
    latencies_s[pauses] += rng.uniform(0.3, 1.0, pauses.sum())
    correct = rng.binomial(requests - errors, accuracy)
    return {"requests": requests, "errors": int(errors), "correct": int(correct),
            "latencies_s": latencies_s}  # fmt: skip


def observe(me, answer, given):
    if me.rank == 1:
        return None
    return [answer(*(SimpleNamespace(**one) for one in both)) for both in given.canaries]


def judge(case, seen):
    kinds, decided = case.own[1]["kinds"], seen.values[0]
    formed = len(decided) == len(kinds) and set(decided) <= {PROMOTE, ROLL_BACK}
    yield Claim('each decision is "promote" or "roll back"', formed, f"{PROMOTE}, {ROLL_BACK}",
                ", ".join(sorted({str(d)[:20] for d in decided})[:5]), hints=_FORM)  # fmt: skip
    if not formed:
        return
    wrong = {}
    for kind in NUMBER:
        due = PROMOTE if kind == "healthy" else ROLL_BACK
        wrong[kind] = np.mean([d != due for d, k in zip(decided, kinds) if k == kind])
    # A rule that makes one decision for all gets no points for the kind that it gets right.
    missed = np.mean([wrong[kind] for kind in ("errors", "accuracy", "latency")])
    decides = wrong["healthy"] < 0.5 and missed < 0.9
    yield claim("healthy challengers are promoted", wrong, "healthy", decides, weight=3)
    yield claim("a higher error rate is seen", wrong, "errors", decides)
    yield claim("a lower accuracy is seen", wrong, "accuracy", decides)
    yield claim("a higher latency is seen", wrong, "latency", decides)
    yield claim("a challenger that answers nothing is rolled back", wrong, "no answer", decides)


def claim(text, wrong, kind, decides, weight=1):
    told = ", ".join(f"{name}: {part:.0%}" for name, part in wrong.items())
    holds = wrong[kind] <= MOST_WRONG[kind]
    about = kind if not holds else max(wrong, key=wrong.get)
    due = f"at most {MOST_WRONG[kind]:.0%} wrong decisions"
    saw = f"wrong decisions by kind: {told}"
    return Claim(text, decides and holds, due, saw, hints=_HINTS[about], weight=weight)

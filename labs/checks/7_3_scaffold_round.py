"""7.3 Correct the drift of clients by control variates, as SCAFFOLD does."""

import numpy as np

from lablib.teach.claims import Claim, alike, equal_by_rank
from lablib.teach.exercise import Case

ANSWERS = ("scaffold_round(weights, gradient, steps, lr, own, shared, mean)",)
TITLE = "Client drift, corrected"
POINTS = 4

_WEIGHTS = (
    "Start from y = weights. What are the `steps` local steps, and what is averaged afterwards?",
    "Each step is y = y - lr * (gradient(y) - own + shared), with `own` and `shared` as they came. "
    "The new weights are mean(y).",
)
_PLAIN = (
    "This is plain federated averaging: the local steps follow the hospital's own gradient.",
    "Subtract the hospital's control variate from each gradient, and add the shared one.",
)
_SIGN = (
    "The correction has the wrong sign, so it makes the hospitals drift further.",
    "own is where this hospital pulls, shared is where all pull: gradient(y) - own + shared.",
)
_ALONE = (
    "These are the weights of one hospital. All hospitals continue with the same weights.",
    "The new weights are mean(y).",
)
_OWN = (
    "The weights are right. The new `own` should be the mean of the gradients that this hospital "
    "computed in its local steps. Is it?",
    "(weights - y) / (steps * lr) is the mean of the *corrected* gradients, so add own - shared.",
)
_SHARED = (
    "The new `shared` is the mean of something over all hospitals. Of what?",
    "shared = mean(own_new).",
)
_STEPS = (
    "How many gradients does a round of `steps` local steps need?",
    "The new `own` needs no gradient of its own: the steps have already used all that it needs.",
)
_SENDS = (
    "What does a hospital send in a round? Count the numbers.",
    "Call mean() for y and for the new `own`, after the local steps: 2 P numbers.",
)
_ARGUMENT = (
    "The argument `weights` has changed, so the mean of the gradients cannot be computed from it.",
    "Begin with y = weights.copy(), and write y = y - ... or y -= ....",
)


def cases(seed):
    return [case_of(seed, hospitals=3, size=5), case_of(seed + 1, hospitals=2, size=8)]


def case_of(seed, hospitals, size):
    """Hospital k has the loss sum(curvature * (weights - optimum)^2) / 2, with its own numbers."""
    rng = np.random.default_rng(seed)
    optima = 5 * rng.normal(size=(hospitals, size))
    curvatures = rng.uniform(0.5, 2, (hospitals, size))
    controls = rng.normal(size=(hospitals, size))
    own = tuple(
        {"optimum": optimum, "curvature": curvature, "control": control}
        for optimum, curvature, control in zip(optima, curvatures, controls, strict=True)
    )
    shared = {
        "start": rng.normal(size=size),
        "shared": controls.mean(0),
        "steps": int(rng.integers(5, 10)),
        "lr": float(rng.uniform(0.1, 0.2)),
        "rounds": 60,
    }
    name = f"{hospitals} hospitals, {shared['steps']} local steps"
    return Case(name, shared, own, ranks=hospitals, relay=True)


def observe(me, answer, given):
    """Return for each of the first three rounds, and for the last one, what this hospital has."""
    gradients = []

    def gradient(weights):
        gradients.append(1)
        return given.curvature * (np.asarray(weights) - given.optimum)

    weights, own, shared = given.start.copy(), given.control.copy(), given.shared.copy()
    found = []
    for _ in range(given.rounds):
        gradients.clear()
        before = weights.copy()
        passed = weights.copy()
        weights, own, shared = (
            np.array(value, float)
            for value in answer(passed, gradient, given.steps, given.lr, own, shared, mean_of_all)
        )
        found.append({
            "weights": weights, "own": own, "shared": shared, "gradients": len(gradients),
            "kept": bool((passed == before).all()),
        })  # fmt: skip
    return [*found[:3], found[-1]]


def mean_of_all(vector):
    import torch
    import torch.distributed as dist

    total = torch.from_numpy(np.array(vector, np.float64))
    dist.all_reduce(total)
    return total.numpy() / dist.get_world_size()


def judge(case, seen):
    due = list(rounds_of(case))
    yield Claim("the argument `weights` stays as it is",
                all(now["kept"] for got in seen.values for now in got), "unchanged", "changed",
                hints=_ARGUMENT)  # fmt: skip
    for number in range(2):
        got = [rounds[number] for rounds in seen.values]
        for what, weight in (("weights", 2), ("own", 1), ("shared", 1)):
            expected = [now[what] for now in due[number]]
            yield equal_by_rank(f"round {number + 1}: {what}", expected, [g[what] for g in got],
                                rtol=1e-6, weight=weight,
                                hints=hints_for(case, what, due[number], got))  # fmt: skip
    far, far_plain = distance(case, seen.values[0][-1]["weights"]), distance(case, plain(case))
    yield Claim("after 60 rounds, the weights are 100 times nearer to the best ones than without "
                "the correction", far < far_plain / 100, f"below {far_plain / 100:.2g}",
                f"{far:.2g}", hints=_WEIGHTS)  # fmt: skip
    steps = case.shared["steps"]
    yield equal_by_rank("a round takes one gradient for each local step",
                        [4 * [steps]] * case.ranks,
                        [[now["gradients"] for now in got] for got in seen.values],
                        hints=_STEPS)  # fmt: skip
    most = 2 * 8 * len(case.shared["start"]) * case.shared["rounds"]
    sent = [sum(nbytes for *_, nbytes in seen.put_in(rank)) for rank in range(case.ranks)]
    yield Claim("a hospital sends at most 2 P numbers in a round",
                0 < min(sent) and max(sent) <= most, f"at most {most:,} B in all rounds",
                f"{max(sent):,} B", sent.index(max(sent)), _SENDS, seen.evidence)  # fmt: skip


def rounds_of(case):
    """Yield for the first rounds what each hospital has afterwards."""
    weights, shared = case.shared["start"], case.shared["shared"]
    own = [mine["control"] for mine in case.own]
    for _ in range(2):
        ends = [walked(case, k, weights, shared - own[k]) for k in range(case.ranks)]
        own = [own[k] - shared + moved(case, weights, ends[k]) for k in range(case.ranks)]
        weights, shared = np.mean(ends, 0), np.mean(own, 0)
        yield [{"weights": weights, "own": mine, "shared": shared, "end": end}
               for mine, end in zip(own, ends, strict=True)]  # fmt: skip


def walked(case, hospital, start, correction):
    """Return the weights of a hospital after its local steps."""
    mine, y = case.own[hospital], start
    for _ in range(case.shared["steps"]):
        gradient = mine["curvature"] * (y - mine["optimum"])
        y = y - case.shared["lr"] * (gradient + correction)
    return y


def moved(case, start, end):
    """Return the mean of the directions of the local steps."""
    return (start - end) / (case.shared["steps"] * case.shared["lr"])


def plain(case):
    """Return the weights after all rounds of plain federated averaging."""
    weights = case.shared["start"]
    for _ in range(case.shared["rounds"]):
        weights = np.mean([walked(case, k, weights, 0.0) for k in range(case.ranks)], 0)
    return weights


def distance(case, weights):
    """Return how far weights are from those that are best for all hospitals together."""
    curvatures = np.array([mine["curvature"] for mine in case.own])
    optima = np.array([mine["optimum"] for mine in case.own])
    best = (curvatures * optima).sum(0) / curvatures.sum(0)
    return float(np.linalg.norm(np.asarray(weights) - best))


def hints_for(case, what, due, got):
    """Return the hints that fit the mistake behind the first wrong value."""
    if what != "weights":
        return _OWN if what == "own" else _SHARED
    start, shared = case.shared["start"], case.shared["shared"]
    own = [mine["control"] for mine in case.own]

    def mean_with(correction):
        return np.mean([walked(case, k, start, correction(k)) for k in range(case.ranks)], 0)

    known = [
        (mean_with(lambda k: 0.0), _PLAIN),
        (mean_with(lambda k: own[k] - shared), _SIGN),
        (due[0]["end"], _ALONE),
    ]
    return next((hints for value, hints in known if alike(value, got[0]["weights"])), _WEIGHTS)

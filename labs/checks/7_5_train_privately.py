"""7.5 Train with gradients that are clipped and noised, as long as the privacy budget lasts.

The last rank plays a curious server: it reads every message and never calls the learner's function.
Some columns of the data are 0 for all records, so the gradient of their weights is 0: there, a
message has noise and nothing else. The claims compare noise and clipped gradients separately.

Noise has no fixed seed, so right answers differ in each run. All bounds below are at least 6
standard deviations from what a right answer gives: a false alarm is rarer than one in a million.
"""

from types import SimpleNamespace

import numpy as np

from lablib.teach.claims import Claim, equal_by_rank
from lablib.teach.exercise import Case
from lablib.teach.overheard import Exchange, nothing_else

ANSWERS = ("train_privately(weights, gradients, add_up, spent, rules)",)
TITLE = "Training within a privacy budget"
POINTS = 6

HOSPITALS, RECORDS, LR, RUNS = 3, 80, 0.2, 2
USED, UNUSED = 12, 12  # columns with values, and columns that are 0 for all records

# lab.privacy.epsilon(noise, sample_rate, steps, delta) for 1, 2, ... steps, by (noise, sample_rate,
# delta). These are stored because the accountant would take seconds on each rank.
SPENT = {
    (1.2, 0.2, 0.001): (
        1.216, 1.506, 1.727, 1.914, 2.081, 2.234, 2.377, 2.51, 2.637, 2.758, 2.874, 2.986,
        3.095, 3.199, 3.302, 3.401, 3.498, 3.593, 3.685, 3.777, 3.865, 3.953, 4.04, 4.123,
        4.207, 4.29, 4.37, 4.449, 4.528, 4.607, 4.683, 4.758, 4.833, 4.908, 4.983, 5.054, 5.125,
        5.196, 5.267, 5.338, 5.408, 5.475, 5.542, 5.609, 5.676,
    ),
    (0.8, 0.1, 0.001): (
        1.881, 2.195, 2.422, 2.608, 2.772, 2.923, 3.056, 3.185, 3.303, 3.42, 3.526, 3.632,
        3.735, 3.83, 3.925, 4.02, 4.108, 4.194, 4.279, 4.365, 4.449, 4.527, 4.604, 4.681, 4.759,
        4.836, 4.911, 4.981, 5.051, 5.122, 5.192, 5.262, 5.332, 5.402, 5.467, 5.531, 5.594,
        5.658, 5.722, 5.786, 5.85, 5.913, 5.977, 6.039, 6.097,
    ),
}  # fmt: skip

_BUDGET = (
    "The budget is overspent: after the last step, spent(steps) must not be larger than "
    "rules.budget. Each message of a hospital counts as a step.",
    "Ask before a step, not after it: take another step only while spent(steps + 1) <= "
    "rules.budget. Call add_up once in each step, because everything that you send costs privacy.",
)
_TOO_EARLY = (
    "There is budget left for another step, or your hospitals do not take the same number of "
    "steps.",
    "Take another step while spent(steps + 1) <= rules.budget. A budget that is spent exactly is "
    "not overspent.",
)
_DRAWN = (
    "The accountant assumes that each record is drawn in each step with probability sample_rate, "
    "independently of the others. How do you choose the rows?",
    "rows = np.flatnonzero(rng.random(rules.records) < rules.sample_rate), again in each step. The "
    "batches then differ in size. Batches of a fixed size are another kind of sampling.",
)
_CLIPPED = (
    "One record may move the sum by `clip` at most. Do you clip each record's gradient, before you "
    "add them up, and leave those alone that are shorter than `clip`?",
    "norms = np.linalg.norm(g, axis=1) has one norm for each record. Multiply each row by "
    "min(1, clip / norm).",
)
_NOISE = (
    "The noise of one hospital's message has another size than the rules ask for. All hospitals "
    "add noise, and what counts is the noise in their sum.",
    "Variances add up: each hospital adds normal noise with standard deviation noise * clip / "
    "sqrt(hospitals) to each number of its sum. Add it before the division by the batch size.",
)
_NEW = (
    "Somebody who knows a part of the noise can subtract it. Does your noise repeat itself in "
    "other steps, in other hospitals, or when the function runs again?",
    "Make one generator at the start, np.random.default_rng() without a seed, and draw new noise "
    "from it in each step.",
)
_WEIGHTS = (
    "The messages do not lead to your weights. Divide the sum by the expected batch size, and use "
    "gradients at the newest weights.",
    "weights = weights - lr * add_up(message) / (sample_rate * all_records). The true size of a "
    "batch would reveal something about the records in it.",
)
_ONLY = ("Send nothing by yourself: call add_up(message), once in each step.",)


def cases(seed):
    first, second = SPENT
    return [case_of(seed, first, clip=0.5), case_of(seed + 1, second, clip=2.0, exactly=True)]


def case_of(seed, setting, clip, exactly=False, spent=SPENT):
    """Hospitals with records whose gradients are from 20 times shorter to 20 times longer than
    `clip`, and a budget for 24 to 32 steps; `exactly`: the last step spends all of it."""
    rng = np.random.default_rng(seed)
    noise, sample_rate, delta = setting
    costs = spent[setting]
    most = int(rng.integers(24, 33))
    budget = costs[most - 1] if exactly else (costs[most - 1] + costs[most]) / 2
    rules = {"records": RECORDS, "all_records": HOSPITALS * RECORDS, "hospitals": HOSPITALS,
             "sample_rate": sample_rate, "clip": clip, "noise": noise, "budget": budget,
             "lr": LR}  # fmt: skip
    shared = {"rules": rules, "costs": costs, "weights": rng.normal(0, 0.1, USED + UNUSED)}
    own = [{"x": x, "y": y} for x, y in (records(rng, clip) for _ in range(HOSPITALS))]
    name = f"budget {budget:g}, noise {noise:g}, clip {clip:g}, sample rate {sample_rate:g}"
    return Case(name, shared, (*own, {}), ranks=HOSPITALS + 1, relay=True, timeout_s=30)


def records(rng, clip):
    x = np.zeros((RECORDS, USED + UNUSED))
    x[:, :USED] = rng.normal(size=(RECORDS, USED)) / np.sqrt(USED)
    x *= 2 * clip * 10 ** rng.uniform(-1, 1, (RECORDS, 1))
    return x, rng.integers(0, 2, RECORDS)


def observe(me, answer, given):
    """Return the weights and what was asked for in each step; on the server, what it heard."""
    found = []
    for _ in range(RUNS):
        exchange = Exchange(len(given.weights))
        if me.rank < HOSPITALS:
            found.append(one_run(answer, given, exchange))
            exchange.listen()
        else:
            found.append(exchange.listen())
    return found


def one_run(answer, given, exchange):
    steps = [[]]  # by step, the (weights, rows) of each call of `gradients`

    def gradients(weights, rows):
        rows = np.arange(len(given.x))[np.asarray(rows, int) if len(rows) == 0 else rows]
        steps[-1].append((np.array(weights, float), rows))
        return gradients_of(weights, given.x[rows], given.y[rows])

    def add_up(message):
        if np.shape(message) != given.weights.shape:
            due = f"an array of shape {given.weights.shape}"
            raise ValueError(f"add_up() takes {due}, not {np.shape(message)}")
        steps.append([])
        return sum(m for m in exchange.share(np.asarray(message, float)) if m is not None)

    def spent(steps):
        costs = (0.0, *given.costs)
        return costs[steps] if steps < len(costs) else float("inf")

    weights = answer(given.weights.copy(), gradients, add_up, spent, SimpleNamespace(**given.rules))
    return {"weights": weights, "steps": steps[:-1]}


def gradients_of(weights, x, y):
    """Return the gradients of the logistic loss of each record: float64 [records, weights]."""
    return (1 / (1 + np.exp(-x @ weights)) - y)[:, None] * x


def judge(case, seen):
    rules = SimpleNamespace(**case.shared["rules"])
    heard = seen.values[-1]
    alone = nothing_else(seen, case.ranks)
    complete = all(message is not None for run in heard for step in run for message in step)
    yield Claim("the hospitals send messages by add_up, and nothing else",
                alone and all(map(len, heard)), "one message of each hospital in a step",
                "messages by add_up" if alone else "other messages", hints=_ONLY,
                evidence=seen.evidence)  # fmt: skip
    if not all(map(len, heard)):
        return
    taken = max(map(len, heard))
    most = sum(cost <= rules.budget for cost in case.shared["costs"])
    yield Claim("training stops before the budget is overspent", taken <= most,
                f"at most {most} steps", f"{taken} messages of a hospital",
                hints=_BUDGET)  # fmt: skip
    yield Claim("no step that the budget allows is left out",
                complete and min(map(len, heard)) >= most, f"{most} steps at each hospital",
                f"{min(map(len, heard))}", hints=_TOO_EARLY)  # fmt: skip
    if not complete:
        return
    messages = [np.array(run) for run in heard]  # by run: [steps, hospitals, weights]
    yield from about_noise(messages, rules)
    yield from about_records(case, seen, messages, rules)
    divisor = rules.sample_rate * rules.all_records
    due = [path(case.shared["weights"], run.sum(1) * rules.lr / divisor) for run in messages]
    values = [[walked(run, way) for run, way in zip(seen.values[rank], due, strict=True)]
              for rank in range(HOSPITALS)]  # fmt: skip
    yield equal_by_rank("each step subtracts lr times the sum divided by the expected batch size",
                        [due] * HOSPITALS, values, rtol=1e-6, hints=_WEIGHTS)  # fmt: skip


def path(weights, changes):
    """Return the weights before each step and after the last one: [steps + 1, weights]."""
    return np.concatenate([weights[None], weights - np.cumsum(changes, axis=0)])


def walked(run, due):
    """Return the weights at which a hospital asked for gradients, and the last ones. A hospital
    that drew no record in a step need not ask: there, take the weights that are due."""
    asked = [step[0][0] if step else before for step, before in zip(run["steps"], due)]
    return [*asked, run["weights"]]


def about_records(case, seen, messages, rules):
    counts, apart = [], []
    for run, sent in enumerate(messages):
        for rank in range(HOSPITALS):
            steps = seen.values[rank][run]["steps"]
            rows = [[int(row) for _, rows in step for row in rows] for step in steps]
            counts.append([len(set(step)) if len(step) == len(set(step)) else -1 for step in rows])
            apart += [message[:USED] - clipped_sum(case.own[rank], step, rules.clip)[:USED]
                      for step, message in zip(steps, sent[:, rank])]  # fmt: skip
    counts = np.array(counts)
    mean, variance = counts.mean(), counts.var(axis=1, ddof=1).mean()
    due = RECORDS * rules.sample_rate
    spread = due * (1 - rules.sample_rate)
    # Of 144 batches or more, the mean is known to 8 % of a batch's standard deviation, and the
    # variance to 12 % of itself.
    drawn = abs(mean - due) < 0.6 * np.sqrt(spread) and 0.3 < variance / spread < 2
    yield Claim("each record is drawn with probability sample_rate in each step",
                counts.min() >= 0 and drawn,
                f"batches of {due:.1f} records with standard deviation {np.sqrt(spread):.1f}",
                f"{mean:.1f} with {np.sqrt(variance):.1f}" if counts.min() >= 0
                else "a record twice in a step", hints=_DRAWN)  # fmt: skip
    noise = np.mean([sent[:, :, USED:] ** 2 for sent in messages])
    rest = np.mean(np.square(apart))
    # Both are means of about 1,700 squares, so their ratio is known to 5 %.
    holds = 0.6 * noise - 1e-12 <= rest <= 1.5 * noise + 1e-12
    yield Claim("each record's gradient is clipped to the norm `clip`, and shorter ones stay",
                holds, f"{np.sqrt(noise):.3g} between a message and the sum, as with noise alone",
                f"{np.sqrt(rest):.3g}", hints=_CLIPPED)  # fmt: skip


def clipped_sum(own, step, clip):
    total = np.zeros(USED + UNUSED)
    for weights, rows in step:
        gradients = gradients_of(weights, own["x"][rows], own["y"][rows])
        norms = np.linalg.norm(gradients, axis=1, keepdims=True)
        total += (gradients * np.minimum(1, clip / np.maximum(norms, 1e-300))).sum(0)
    return total


def about_noise(messages, rules):
    noise = [sent[:, :, USED:] for sent in messages]
    sizes = [np.sqrt(np.mean([run[:, rank] ** 2 for run in noise])) for rank in range(HOSPITALS)]
    again = [where for where, holds in independent(noise, np.mean(np.square(sizes))) if not holds]
    yield Claim("noise is new in each step, at each hospital and in each run", not again,
                "independent noise", f"related noise, or none, {', '.join(again)}",
                hints=_NEW if min(sizes) > 0 else _NOISE)  # fmt: skip
    due = rules.noise * rules.clip / np.sqrt(HOSPITALS)
    worst = max(range(HOSPITALS), key=lambda rank: abs(sizes[rank] / due - 1))
    # A standard deviation from about 600 numbers is known to 3 %.
    yield Claim("noise has the right size: noise * clip in the sum over all hospitals",
                abs(sizes[worst] / due - 1) < 0.2, f"standard deviation {due:.3g} at one hospital",
                f"{sizes[worst]:.3g}", worst, _NOISE)  # fmt: skip


def independent(noise, variance):
    """Yield where noise could repeat itself, and whether it is independent there.

    Each number that is compared with `variance` is a mean of squares that equals it if noise is
    independent. The first one is a mean of 72 squares, known to 17 %, the others of 600 or more,
    known to 6 %. Equal noise gives 24, 3 and 0 times the variance.
    """
    first, second = noise
    steps = min(len(first), len(second))
    over_steps = np.mean([run.sum(0) ** 2 / len(run) for run in noise])
    over_hospitals = np.mean([np.mean(run.sum(1) ** 2) / HOSPITALS for run in noise])
    between_runs = np.mean((first[:steps] - second[:steps]) ** 2) / 2
    yield "in other steps", 0.1 * variance < over_steps < 4 * variance
    yield "at other hospitals", 0.5 * variance < over_hospitals < 1.6 * variance
    yield "in another run", 0.5 * variance < between_runs < 1.6 * variance

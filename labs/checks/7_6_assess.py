"""7.6 Calibration and missed patients by group, of all hospitals together, from sums alone.

The last rank plays a curious server: it reads every message and never calls the learner's function.
"""

import numpy as np

from lablib.teach.claims import Claim, equal_by_rank, real
from lablib.teach.exercise import Case
from lablib.teach.overheard import Exchange, nothing_else

ANSWERS = ("assess(probability, y, group, add_up)",)
TITLE = "Calibration and the gap between groups"
POINTS = 5

BINS, GROUPS, FEWEST, MOST_SENT = 10, 4, 10, 100

_FORM = (
    'Return a dictionary with the keys "ece", "missed", "gap" and "gap_error".',
    '"missed" is a list of 4: a number, or None for a group with too few patients.',
)
_ECE = (
    "The calibration error is another number. Is it the one of all patients together? A mean of "
    "the hospitals' own errors is larger, because errors of opposite sign do not cancel in it.",
    "Add up three sums for each bin over all hospitals: patients, probabilities, and patients with "
    "y = 1. Then ece = sum over bins of |probabilities - patients with y = 1| / all patients.",
)
_EDGE = (
    "Only patients with a probability of exactly 1 make the difference here. To which bin do they "
    "belong?",
    "bins = np.minimum((probability * 10).astype(int), 9) puts 1.0 into the last bin.",
)
_MISSED = (
    "Which patients are in the denominator? A mean of the hospitals' rates counts a hospital with "
    "two such patients as much as one with two hundred.",
    "For each group add up two counts over all hospitals: patients with y = 1, and those of them "
    "with a probability below 0.5. Divide after that.",
)
_SMALL = (
    "How many patients with y = 1 does the rate of each group rest on, in all hospitals together?",
    "Put None where all hospitals together have fewer than 10 patients with y = 1 in a group. A "
    "rate of so few patients is mostly chance.",
)
_GAP = (
    "The gap is the largest rate minus the smallest one, of those groups whose rate is not None.",
)
_ERROR = (
    "The gap is a difference of two rates, and both are uncertain. How many patients does each of "
    "them rest on?",
    "sqrt(r1 (1 - r1) / n1 + r2 (1 - r2) / n2), where n1 and n2 are the two groups' patients with "
    "y = 1 in all hospitals.",
)
_SENT = (
    "What does the server read in your messages? Records stay in their hospital: send sums over "
    "patients, at most 100 numbers in total.",
    "Three sums for each of 10 bins and two for each of 4 groups are 38 numbers.",
)
_NOTHING = (
    "No hospital sent anything, so each one knows its own patients only. Call add_up.",
    "add_up(counts) returns the sum of all hospitals' counts, an array of the same shape.",
)


def cases(seed):
    return [
        case_of(seed, patients=(150, 400, 900), few=3),
        case_of(seed + 1, patients=(300, 20, 600), few=0),
    ]


def case_of(seed, patients, few):
    """Hospitals whose models err in different directions, groups that are missed at different
    rates, and one group with fewer than 10 positives in all.

    few   which group this is. In one of the hospitals it has no patient at all
    """
    rng = np.random.default_rng(seed)
    equal_rates = True
    while equal_rates:  # two groups could both have the largest rate: draw again
        order = rng.permutation(GROUPS)
        own = [hospital(rng, k, n, few, order) for k, n in enumerate(patients)]
        share_out_few_positives(rng, own, few)
        rates = assessed(*together(own))["missed"]
        equal_rates = len(set(rates)) < GROUPS
    name = f"hospitals with {', '.join(map(str, patients))} patients"
    return Case(name, own=(*own, {}), ranks=len(own) + 1, relay=True)


def hospital(rng, number, patients, few, order):
    """Return predictions that are too high in every second hospital and too low in the others."""
    group = rng.choice([g for g in range(GROUPS) if g != few], patients, p=[0.5, 0.3, 0.2])
    risk = rng.uniform(0.02, 0.98, patients)
    y = (rng.random(patients) < risk).astype(int)
    shift = 0.12 if number % 2 else -0.08
    probability = np.clip(risk + shift - 0.06 * order[group] * y, 0, 1)
    probability[rng.random(patients) < 0.04] = 1.0
    return {"probability": probability, "y": y, "group": group}


def share_out_few_positives(rng, own, few):
    """Give all hospitals but the first some patients of the rare group: 9 positives in all.

    Nearly all of them are missed, so that this group would make the largest gap.
    """
    for count, hospital in zip((4, 5), own[1:], strict=False):
        rare = rng.choice(len(hospital["y"]), count + 6, replace=False)
        hospital["group"][rare] = few
        hospital["y"][rare] = np.arange(len(rare)) < count
        hospital["probability"][rare] = rng.uniform(0.3, 0.49, len(rare))


def observe(me, answer, given):
    """Return the answer's dictionary; on the server, what it heard."""
    exchange = Exchange(8000)
    if me.rank == me.ranks - 1:
        return exchange.listen()

    def add_up(counts):
        counts = np.asarray(counts, float)
        parts = [m for m in exchange.share(counts.reshape(-1)) if m is not None]
        if {len(part) for part in parts} != {counts.size}:
            raise ValueError(
                "add_up() takes arrays of one shape: the hospitals sent "
                f"{sorted({len(part) for part in parts})} numbers"
            )
        return sum(parts).reshape(counts.shape)

    data = (given.probability, given.y, given.group)
    found = answer(*(array.copy() for array in data), add_up)
    exchange.listen()
    return found


def judge(case, seen):
    own, found = case.own[:-1], seen.values[:-1]
    formed = [form_of(one) for one in found]
    yield Claim('a dictionary with "ece", "missed" (a list of 4), "gap" and "gap_error"',
                all(formed), "numbers, and None in missed", str(found[0])[:200],
                hints=_FORM)  # fmt: skip
    heard = seen.values[-1]
    sent = [sum(len(now[rank]) for now in heard if now[rank] is not None)
            for rank in range(len(own))]  # fmt: skip
    alone = nothing_else(seen, case.ranks)
    yield Claim(f"a hospital sends at most {MOST_SENT} numbers, by add_up",
                alone and 0 < max(sent) <= MOST_SENT, f"1 to {MOST_SENT} numbers",
                f"{max(sent)} numbers" if alone else "other messages than those of add_up",
                hints=_SENT if max(sent) else _NOTHING, evidence=seen.evidence)  # fmt: skip
    if not all(formed):
        return
    due = assessed(*together(own))
    for key, text, hints in (
        ("ece", "ece is the calibration error of all patients together", _ECE),
        ("missed", "missed has the false-negative rate of each group", _MISSED),
        ("gap", "gap is the difference between the largest and the smallest rate", _GAP),
        ("gap_error", "gap_error is the standard error of this difference", _ERROR),
    ):
        values = [one[key] for one in formed]
        if key == "ece" and alike_without_ones(own, values):
            hints = _EDGE
        if key == "missed" and nones(values[0]) != nones(due["missed"]):
            hints = _SMALL
        yield equal_by_rank(text, [due[key]] * len(own), values, rtol=1e-6, hints=hints)


def form_of(found):
    """Return the dictionary with its numbers as floats; None if it has another form."""
    if not isinstance(found, dict) or found.keys() != {"ece", "missed", "gap", "gap_error"}:
        return None
    missed = found["missed"]
    if not isinstance(missed, (list, tuple, np.ndarray)) or len(missed) != GROUPS:
        return None
    single = {key: real(found[key]) for key in ("ece", "gap", "gap_error")}
    rates = [None if rate is None else real(rate) for rate in missed]
    wrong = [rate for rate, given in zip(rates, missed) if rate is None and given is not None]
    return None if wrong or None in single.values() else single | {"missed": rates}


def together(own):
    return [np.concatenate([one[key] for one in own]) for key in ("probability", "y", "group")]


def nones(rates):
    return [rate is None for rate in rates]


def assessed(probability, y, group):
    """Return what is due for the patients of all hospitals."""
    missed, counts = [], []
    for which in range(GROUPS):
        positive = (group == which) & (y == 1)
        few = positive.sum() < FEWEST
        missed.append(None if few else float((probability[positive] < 0.5).mean()))
        counts.append(int(positive.sum()))
    judged = [(rate, count) for rate, count in zip(missed, counts) if rate is not None]
    (low, n_low), (high, n_high) = min(judged), max(judged)
    error = np.sqrt(low * (1 - low) / n_low + high * (1 - high) / n_high)
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    return {"ece": error_of(probability, y, bins), "missed": missed, "gap": high - low,
            "gap_error": float(error)}  # fmt: skip


def error_of(probability, y, bins):
    return float(np.abs(np.bincount(bins, probability - y)).sum() / len(y))


def alike_without_ones(own, values):
    """Return whether the values are the calibration error if the patients with a probability of
    exactly 1 are left out, or have a bin of their own."""
    probability, y, _ = together(own)
    bins, below = (probability * BINS).astype(int), probability < 1
    left_out = error_of(probability[below], y[below], bins[below])
    wrong = [left_out, left_out * below.mean(), error_of(probability, y, bins)]
    return any(np.allclose(values, one, rtol=1e-6) for one in wrong)

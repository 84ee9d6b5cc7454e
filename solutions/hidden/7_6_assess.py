"""7.6, hidden from learners: other cases, other right answers, wrong answers."""

import numpy as np

from lablib.teach.exercise import find

case_of = find("7.6").module.case_of


def cases(seed):
    return [
        case_of(seed, patients=(80, 700, 250, 500), few=2),
        case_of(seed + 1, patients=(1000, 40), few=1),
    ]


def with_bincount(probability, y, group, add_up):
    bins = np.minimum((probability * 10).astype(int), 9)
    of_bin = [np.bincount(bins, weights, minlength=10) for weights in (None, probability, y)]
    patients, predicted, observed = add_up(np.array(of_bin))
    positive = y == 1
    below = positive & (probability < 0.5)
    n, missed = add_up(np.array([np.bincount(group[m], minlength=4) for m in (positive, below)]))
    rates = [m / k if k >= 10 else None for m, k in zip(missed, n)]
    known = [k for k in range(4) if rates[k] is not None]
    ends = min(known, key=lambda k: rates[k]), max(known, key=lambda k: rates[k])
    error = sum(rates[k] * (1 - rates[k]) / n[k] for k in ends) ** 0.5
    ece = np.abs(predicted - observed).sum() / patients.sum()
    gap = rates[ends[1]] - rates[ends[0]]
    return {"ece": ece, "missed": rates, "gap": gap, "gap_error": error}


def with_loops(probability, y, group, add_up):
    sums = {}
    for p, target, g in zip(probability.tolist(), y.tolist(), group.tolist()):
        for key, value in (
            (("bin", min(int(p * 10), 9)), p - target),
            (("all",), 1),
            (("positive", g), target),
            (("missed", g), target * (p < 0.5)),
        ):
            sums[key] = sums.get(key, 0) + value
    keys = [("all",), *(("bin", b) for b in range(10))]
    keys += [(word, g) for word in ("positive", "missed") for g in range(4)]
    total = dict(zip(keys, add_up([sums.get(key, 0) for key in keys]).tolist()))
    ece = sum(abs(total["bin", b]) for b in range(10)) / total[("all",)]
    n = [total["positive", g] for g in range(4)]
    missed = [total["missed", g] / n[g] if n[g] >= 10 else None for g in range(4)]
    ordered = sorted((rate, g) for g, rate in enumerate(missed) if rate is not None)
    (low, at_low), (high, at_high) = ordered[0], ordered[-1]
    variance = low * (1 - low) / n[at_low] + high * (1 - high) / n[at_high]
    return {"ece": ece, "missed": missed, "gap": high - low, "gap_error": variance**0.5}


def with_histograms(probability, y, group, add_up):
    edges = np.linspace(0, 1, 11)
    weights = np.ones(len(y)), probability, y
    sums = add_up([np.histogram(probability, edges, weights=w)[0] for w in weights])
    bins = sums[:, sums[0] > 0]
    ece = np.sum(bins[0] / sums[0].sum() * np.abs(bins[1] / bins[0] - bins[2] / bins[0]))
    members = (group[:, None] == np.arange(4)) & (y[:, None] == 1)
    n = add_up(members.sum(0))
    rates = add_up((members & (probability < 0.5)[:, None]).sum(0)) / np.maximum(n, 1)
    shown = np.where(n >= 10, rates, np.nan)
    ends = [np.nanargmin(shown), np.nanargmax(shown)]
    error = np.sqrt((rates * (1 - rates) / np.maximum(n, 1))[ends].sum())
    missed = [None if np.isnan(rate) else rate for rate in shown]
    return {"ece": ece, "missed": missed, "gap": np.ptp(rates[ends]), "gap_error": error}


def changed(**changes):
    """Return the right answer with the values of some keys replaced."""

    def answer(probability, y, group, add_up):
        right = with_bincount(probability, y, group, add_up)
        return right | {
            key: change(probability, y, group, add_up, right) for key, change in changes.items()
        }

    return answer


def alone(array):
    """Stands for add_up where a hospital looks at its own patients only."""
    return np.asarray(array, float)


def mean_of_hospitals_errors(probability, y, group, add_up, right):
    bins = np.minimum((probability * 10).astype(int), 9)
    own = np.abs(np.bincount(bins, probability - y)).sum() / len(y)
    total, patients = add_up([own * len(y), len(y)])
    return total / patients


def mean_over_bins(probability, y, group, add_up, right):
    bins = np.minimum((probability * 10).astype(int), 9)
    n, apart = add_up([np.bincount(bins, w, minlength=10) for w in (None, probability - y)])
    return np.mean(np.abs(apart) / np.maximum(n, 1))


def without_ones(probability, y, group, add_up, right):
    bins = (probability * 10).astype(int)
    n, apart = add_up([np.bincount(bins, w, minlength=11)[:10] for w in (None, probability - y)])
    return np.abs(apart).sum() / n.sum()


def squared(probability, y, group, add_up, right):
    total, n = add_up([((probability - y) ** 2).sum(), len(y)])
    return total / n


def rates_of(count):
    """Return wrong rates: count(probability, y) has what counts as missed, and of whom."""

    def change(probability, y, group, add_up, right):
        missed, whole = count(probability, y)
        n, m = add_up([np.bincount(group[w], minlength=4) for w in (whole, missed)])
        rates = [a / b if b else 0.0 for a, b in zip(m, n)]
        return [None if r is None else rate for r, rate in zip(right["missed"], rates)]

    return change


def mean_of_hospitals_rates(probability, y, group, add_up, right):
    n = np.bincount(group[y == 1], minlength=4)
    m = np.bincount(group[(y == 1) & (probability < 0.5)], minlength=4)
    rates, hospitals = add_up([np.where(n > 0, m / np.maximum(n, 1), 0), n > 0])
    means = rates / np.maximum(hospitals, 1)
    return [None if r is None else rate for r, rate in zip(right["missed"], means)]


def shows_small_groups(probability, y, group, add_up):
    def enough(array):
        """Adds invisible patients, so that no group is too small, without changing the rates."""
        total = np.asarray(add_up(array), float)
        return total * 1000 if total.shape == (2, 4) else total

    return with_bincount(probability, y, group, enough)


def small_in_each_hospital(probability, y, group, add_up, right):
    n = np.bincount(group[y == 1], minlength=4)
    m = np.bincount(group[(y == 1) & (probability < 0.5)], minlength=4)
    n, m = add_up([np.where(n >= 10, n, 0), np.where(n >= 10, m, 0)])
    return [b / a if a else None for a, b in zip(n, m)]


def zero_for_small_groups(probability, y, group, add_up, right):
    return [0.0 if rate is None else rate for rate in right["missed"]]


def gap_of_all_groups(probability, y, group, add_up, right):
    n = add_up(np.bincount(group[y == 1], minlength=4))
    m = add_up(np.bincount(group[(y == 1) & (probability < 0.5)], minlength=4))
    return np.ptp(m / n)


def error_of_all_patients(probability, y, group, add_up, right):
    n = add_up(np.bincount(group, minlength=4))
    known = [(r, k) for r, k in zip(right["missed"], n) if r is not None]
    return sum(r * (1 - r) / k for r, k in (min(known), max(known))) ** 0.5


def error_of_one_group(probability, y, group, add_up, right):
    n = add_up(np.bincount(group[y == 1], minlength=4))
    rate, k = max((r, k) for r, k in zip(right["missed"], n) if r is not None)
    return (rate * (1 - rate) / k) ** 0.5


def gathers_the_records(probability, y, group, add_up):
    """Each hospital writes its records into rows of its own, so that the sum has all of them."""
    start = int(probability[0] * 1e9) % 500
    every = np.zeros((2000, 3))
    every[start : start + len(y)] = np.stack([probability, y, group], axis=1)
    add_up(every)
    return with_bincount(probability, y, group, add_up)


def one_hospital(probability, y, group, add_up):
    return with_bincount(probability, y, group, alone)


RIGHT = [with_bincount, with_loops, with_histograms]
WRONG = {
    "mean of the hospitals' errors": changed(ece=mean_of_hospitals_errors),
    "mean over bins": changed(ece=mean_over_bins),
    "leaves out the ones": changed(ece=without_ones),
    "Brier score": changed(ece=squared),
    "mean of the hospitals' rates": changed(missed=mean_of_hospitals_rates),
    "of all patients in the group": changed(
        missed=rates_of(lambda p, y: ((y == 1) & (p < 0.5), y >= 0))
    ),
    "false positives": changed(missed=rates_of(lambda p, y: ((y == 0) & (p >= 0.5), y == 0))),
    "small groups, too": shows_small_groups,
    "small in each hospital": changed(missed=small_in_each_hospital),
    "zero for small groups": changed(missed=zero_for_small_groups),
    "gap of all groups": changed(gap=gap_of_all_groups),
    "error from all patients": changed(gap_error=error_of_all_patients),
    "error of one group": changed(gap_error=error_of_one_group),
    "gathers the records": gathers_the_records,
    "one hospital": one_hospital,
}

"""7.1, hidden from learners: other cases, other right answers, wrong answers."""

from collections import Counter
from math import sqrt

import numpy as np

from lablib.teach.exercise import find

case_of = find("7.1").module.case_of


def cases(seed):
    return [case_of(seed, patients=33), case_of(seed + 1, patients=301)]


def wilson(p, n, z=1.96):
    middle, half = p + z**2 / (2 * n), z * sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return p, (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)


def wald(p, n):
    half = 1.96 * sqrt(p * (1 - p) / n)
    return p, p - half, p + half


def reviewed(verdicts, review):
    return [(review or {}).get(patient, verdict) for patient, verdict in enumerate(verdicts)]


def with_lists(verdicts, agreeing, left_out=(), review=None, interval=wilson):
    counted = [v for v in reviewed(verdicts, review) if v not in left_out]
    if not counted:
        return None
    return interval(sum(v in agreeing for v in counted) / len(counted), len(counted))


def with_numpy(verdicts, agreeing, left_out=(), review=None):
    now = np.array(verdicts, dtype=object)
    for patient, verdict in (review or {}).items():
        now[patient] = verdict
    now = now[~np.isin(now.astype(str), left_out)]
    return (
        np.array(wilson(np.isin(now.astype(str), agreeing).mean(), len(now))) if len(now) else None
    )


def with_scipy(verdicts, agreeing, left_out=(), review=None):
    from scipy.stats import binomtest

    counts = Counter(reviewed(verdicts, review))
    n = sum(count for verdict, count in counts.items() if verdict not in left_out)
    if n == 0:
        return None
    test = binomtest(sum(counts[verdict] for verdict in agreeing), n)
    low, high = test.proportion_ci(0.95, method="wilson")
    return [test.statistic, low, high]


def simple_interval(verdicts, agreeing, left_out=(), review=None):
    return with_lists(verdicts, agreeing, left_out, review, wald)


def keeps_everybody(verdicts, agreeing, left_out=(), review=None):
    return with_lists(verdicts, agreeing, (), review)


def only_out_of_the_numerator(verdicts, agreeing, left_out=(), review=None):
    now = reviewed(verdicts, review)
    if all(verdict in left_out for verdict in now):
        return None
    agreed = sum(verdict in agreeing and verdict not in left_out for verdict in now)
    return wilson(agreed / len(now), len(now))


def ignores_the_review(verdicts, agreeing, left_out=(), review=None):
    return with_lists(verdicts, agreeing, left_out)


def only_for_the_better(verdicts, agreeing, left_out=(), review=None):
    """Takes the second verdict only where the first one was no agreement, as the study did."""
    better = {p: v for p, v in (review or {}).items() if verdicts[p] not in agreeing}
    return with_lists(verdicts, agreeing, left_out, better)


def leaves_out_before_the_review(verdicts, agreeing, left_out=(), review=None):
    pairs = [
        (first, second)
        for first, second in zip(verdicts, reviewed(verdicts, review), strict=True)
        if first not in left_out
    ]
    if not pairs:
        return None
    return wilson(sum(second in agreeing for _, second in pairs) / len(pairs), len(pairs))


def in_percent(verdicts, agreeing, left_out=(), review=None):
    found = with_lists(verdicts, agreeing, left_out, review)
    return found and tuple(100 * value for value in found)


def nobody_is_zero(verdicts, agreeing, left_out=(), review=None):
    return with_lists(verdicts, agreeing, left_out, review) or (0.0, 0.0, 0.0)


def sample_size_of_all(verdicts, agreeing, left_out=(), review=None):
    found = with_lists(verdicts, agreeing, left_out, review)
    return found and wilson(found[0], len(verdicts))


RIGHT = [with_lists, with_numpy, with_scipy]
WRONG = {
    "the simple interval": simple_interval,
    "ignores left_out": keeps_everybody,
    "leaves out of the numerator only": only_out_of_the_numerator,
    "ignores the review": ignores_the_review,
    "reviews for the better only": only_for_the_better,
    "leaves out before the review": leaves_out_before_the_review,
    "in per cent": in_percent,
    "nobody is 0": nobody_is_zero,
    "n of all patients": sample_size_of_all,
}

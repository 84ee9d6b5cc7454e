"""6.5, what learners never get: other cases, right answers written differently, wrong ones."""

import numpy as np

from lablib.teach.exercise import find

case_of = find("6.5").module.case_of


def cases(seed):
    return [
        case_of(seed, requests=50, error_rate=0.04, accuracy=0.9),
        case_of(seed + 1, requests=400, error_rate=0.01, accuracy=0.93),
    ]


def three_z_scores(champion, challenger):
    def z(count1, n1, count2, n2):
        both = (count1 + count2) / (n1 + n2)
        error = np.sqrt(both * (1 - both) * (1 / n1 + 1 / n2))
        return (count2 / n2 - count1 / n1) / error if error else 0.0

    answered = [model.requests - model.errors for model in (champion, challenger)]
    if not answered[1]:
        return "roll back"
    logs = [np.log(model.latencies_s) for model in (champion, challenger)]
    error = np.sqrt(sum(log.var() / len(log) for log in logs))
    worse = (
        z(champion.errors, champion.requests, challenger.errors, challenger.requests) > 2.5,
        z(champion.correct, answered[0], challenger.correct, answered[1]) < -2.5,
        (logs[1].mean() - logs[0].mean()) / error > 2.5,
    )
    return "roll back" if any(worse) else "promote"


def resampling(champion, challenger):
    rng = np.random.default_rng(0)
    draws = 1000

    def rates(model):
        answered = model.requests - model.errors
        # One success and one failure more than seen, so that no rate is exactly 0.
        failed = rng.beta(model.errors + 0.5, answered + 0.5, draws)
        right = rng.beta(model.correct + 0.5, answered - model.correct + 0.5, draws)
        drawn = rng.choice(model.latencies_s, (draws, answered))
        return failed, right, np.median(drawn, axis=1)

    if challenger.requests == challenger.errors:
        return "roll back"
    before, now = rates(champion), rates(challenger)
    worse = (now[0] > before[0], now[1] < before[1], now[2] > before[2])
    return "roll back" if any(part.mean() > 0.993 for part in worse) else "promote"


def exact_and_ranked(champion, challenger):
    from scipy import stats

    def table(bad1, n1, bad2, n2):
        rows = [[bad2, n2 - bad2], [bad1, n1 - bad1]]
        return stats.fisher_exact(rows, alternative="greater").pvalue

    answered = [model.requests - model.errors for model in (champion, challenger)]
    if answered[1] == 0:
        return "roll back"
    chances = [
        table(champion.errors, champion.requests, challenger.errors, challenger.requests),
        table(answered[0] - champion.correct, answered[0],
              answered[1] - challenger.correct, answered[1]),
        stats.mannwhitneyu(
            challenger.latencies_s, champion.latencies_s, alternative="greater").pvalue,
    ]  # fmt: skip
    return "roll back" if min(chances) < 0.01 else "promote"


def compares_rates(champion, challenger):
    if challenger.requests == challenger.errors:
        return "roll back"
    rates = [
        (m.errors / m.requests, -m.correct / (m.requests - m.errors), np.median(m.latencies_s))
        for m in (champion, challenger)
    ]
    return "roll back" if any(b > a for a, b in zip(*rates)) else "promote"


def compares_counts(champion, challenger):
    worse = challenger.errors > champion.errors or challenger.correct < champion.correct
    return "roll back" if worse else "promote"


def fixed_limits(champion, challenger):
    answered = challenger.requests - challenger.errors
    bad = (
        challenger.errors / challenger.requests > 0.05
        or challenger.correct / max(answered, 1) < 0.85
        or np.mean(challenger.latencies_s) > 0.05
    )
    return "roll back" if bad else "promote"


def forgets_accuracy(champion, challenger):
    as_right = {"correct": challenger.requests - challenger.errors}
    same = type(challenger)(**{**vars(challenger), **as_right})
    return three_z_scores(champion, same)


def mean_latency(champion, challenger):
    if challenger.requests == challenger.errors:
        return "roll back"
    slower = np.mean(challenger.latencies_s) > 1.2 * np.mean(champion.latencies_s)
    same = type(challenger)(**{**vars(challenger), "latencies_s": champion.latencies_s})
    return "roll back" if slower else three_z_scores(champion, same)


def three_times_one_in_ten(champion, challenger):
    """Each comparison alone would be wrong in one of ten cases; three are, in one of four."""

    def z(count1, n1, count2, n2):
        both = (count1 + count2) / (n1 + n2)
        error = np.sqrt(both * (1 - both) * (1 / n1 + 1 / n2))
        return (count2 / n2 - count1 / n1) / error if error else 0.0

    answered = [model.requests - model.errors for model in (champion, challenger)]
    if not answered[1]:
        return "roll back"
    logs = [np.log(model.latencies_s) for model in (champion, challenger)]
    error = np.sqrt(sum(log.var() / len(log) for log in logs))
    scores = (
        z(champion.errors, champion.requests, challenger.errors, challenger.requests),
        -z(champion.correct, answered[0], challenger.correct, answered[1]),
        (logs[1].mean() - logs[0].mean()) / error,
    )
    return "roll back" if max(scores) > 1 else "promote"


def always(decision):
    return lambda champion, challenger: decision


RIGHT = [three_z_scores, resampling, exact_and_ranked]
WRONG = {
    "compares the rates": compares_rates,
    "compares the counts": compares_counts,
    "fixed limits": fixed_limits,
    "forgets accuracy": forgets_accuracy,
    "compares mean latencies": mean_latency,
    "rolls back too soon": three_times_one_in_ten,
    "always promotes": always("promote"),
    "always rolls back": always("roll back"),
}

"""6.2, what learners never get: other cases, right answers written differently, wrong ones."""

import numpy as np

from lablib.teach.exercise import find

case_of = find("6.2").module.case_of


def cases(seed):
    return [
        case_of(seed, samples=150, disagree=0.12, accuracy=0.8),
        case_of(seed + 1, samples=2500, disagree=0.02, accuracy=0.92),
    ]


def paired_resampling(champion, challenger):
    rng = np.random.default_rng(0)
    difference = challenger.astype(float) - champion
    # Only the samples on which the two differ matter; how often each kind is drawn is multinomial.
    n = len(difference)
    shares = [(difference == value).mean() for value in (-1, 0, 1)]
    drawn = rng.multinomial(n, shares, size=2000)
    means = (drawn[:, 2] - drawn[:, 0]) / n
    return bool(np.quantile(means, 0.975) >= 0)


def standard_error(champion, challenger):
    difference = np.array(challenger, float) - np.array(champion, float)
    return difference.mean() + 1.96 * difference.std() / np.sqrt(difference.size) >= 0


def sign_test(champion, challenger):
    """McNemar's exact test on the samples of which exactly one model is right."""
    from math import comb

    won = int((challenger & ~champion).sum())
    lost = int((champion & ~challenger).sum())
    n = won + lost
    chance = sum(comb(n, k) for k in range(won + 1)) / 2**n
    return chance > 0.025


def resampling_in_a_loop(champion, challenger):
    rng = np.random.default_rng(1)
    difference = challenger.astype(np.int8) - champion.astype(np.int8)
    means = [rng.choice(difference, len(difference)).mean() for _ in range(400)]
    return not np.percentile(means, 97.5) < 0


def compares_accuracies(champion, challenger):
    return bool(challenger.mean() >= champion.mean())


def fixed_allowance(champion, challenger):
    return bool(challenger.mean() >= champion.mean() - 0.01)


def unpaired_interval(champion, challenger):
    n, a, b = len(champion), champion.mean(), challenger.mean()
    error = np.sqrt(a * (1 - a) / n + b * (1 - b) / n)
    return bool(b - a + 1.96 * error >= 0)


def unpaired_resampling(champion, challenger):
    rng = np.random.default_rng(0)
    n = len(champion)
    a, b = (rng.binomial(n, model.mean(), 2000) / n for model in (champion, challenger))
    return bool(np.quantile(b - a, 0.975) >= 0)


def only_if_surely_better(champion, challenger):
    difference = challenger.astype(float) - champion
    return bool(difference.mean() - 1.96 * difference.std() / np.sqrt(len(difference)) > 0)


def always_passes(champion, challenger):
    return True


def looks_at_nothing(champion, challenger):
    """A cheat: it draws its decisions without a look at the data."""
    return bool(np.random.default_rng(len(champion)).random() < 0.6)


RIGHT = [paired_resampling, standard_error, sign_test, resampling_in_a_loop]
WRONG = {
    "compares the accuracies": compares_accuracies,
    "a fixed allowance": fixed_allowance,
    "an unpaired interval": unpaired_interval,
    "unpaired resampling": unpaired_resampling,
    "passes only what is surely better": only_if_surely_better,
    "always passes": always_passes,
    "looks at nothing": looks_at_nothing,
}

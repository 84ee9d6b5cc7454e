"""1.2 Average the ranks' gradients into the gradient of one process with all samples."""

import numpy as np

from lablib.teach.claims import alike, equal_by_rank, only_all_reduces, volume
from lablib.teach.exercise import Case

ANSWERS = ("mean_gradient(gradient, samples)", "mean_gradient_tf(gradient, samples)")
TITLE = "The gradient of all samples"
POINTS = 4

_OWN = (
    "A rank still has its own gradient. It needs a message to get the other ranks' gradients.",
    "After an all-reduce every rank has the sum. Which quantity should you sum here?",
)
_MEAN_OF_MEANS = (
    "This is the mean of the ranks' means. A rank with 1 sample counts as much as one with 5.",
    "Multiply each rank's mean by its number of samples before you add up.",
)
_SUM = (
    "This is a sum. To get the gradient of the mean loss, divide it by a number: by which one?",
    "Divide by the number of samples on all ranks together, not by the number of ranks.",
)
_VALUE = (
    "Write the gradient of the mean loss over all samples as sums over each rank's samples.",
    "Two things must be summed over the ranks: samples x gradient, and samples.",
)
_ALL_REDUCES = (
    "Which collective gives every rank a sum? A rank passes at most one gradient to it.",
    "One all-reduce for the gradient and one for the number of samples are enough.",
)


def cases(seed):
    return [
        case_of(seed, (5, 2, 1), "torch"),
        case_of(seed + 1, (1, 2, 1), "torch", features=1000),
        case_of(seed + 2, (4, 1, 2), "tensorflow", features=2**18),
    ]


def case_of(seed, samples, framework, features=6):
    rng = np.random.default_rng(seed)
    own = tuple(
        {"x": rng.normal(size=(n, features)).astype(np.float32),
         "y": rng.normal(size=n).astype(np.float32)} for n in samples
    )  # fmt: skip
    numbers = ", ".join(map(str, samples))
    name = f"{framework}, ranks with {numbers} samples, {features:,} weights"
    which = int(framework != "torch")
    return Case(name, own=own, ranks=len(samples), framework=framework, answer=which,
                relay=framework == "torch")  # fmt: skip


def observe(me, answer, given):
    """Call the answer with this rank's gradient of a linear model.

    The weights of the model are still zero. Its loss is the mean squared error.
    """
    gradient = -2 / max(len(given.x), 1) * given.y @ given.x
    if me.framework == "torch":
        import torch

        gradient = torch.from_numpy(gradient)
        returned = answer(gradient, len(given.x))
        return gradient if returned is None else returned
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    return strategy.run(answer, (tf.constant(gradient), len(given.x)))


def judge(case, seen):
    counts = [len(own["x"]) for own in case.own]
    sums = [-2 * own["y"] @ own["x"] for own in case.own]
    mean = sum(sums) / sum(counts)
    yield equal_by_rank(
        "every rank has the gradient of one process with all samples",
        [mean] * case.ranks, seen.values, weight=2, hints=_hints(counts, sums, seen.values),
    )  # fmt: skip
    yield only_all_reduces("only all-reduces are sent, of one gradient and one number", seen,
                           case.ranks, mean.nbytes + 8, hints=_ALL_REDUCES)  # fmt: skip
    if mean.nbytes >= 2**20 and case.framework == "tensorflow":
        passed = 2 * (case.ranks - 1) * mean.nbytes
        yield volume("each rank puts only one gradient on the network", seen, passed,
                     hints=_ALL_REDUCES)  # fmt: skip


def _hints(counts, sums, values):
    """Return the hints that fit the mistake behind the first rank's value."""
    means = [total / max(n, 1) for total, n in zip(sums, counts, strict=True)]
    known = (
        (means[0], _OWN),
        (np.mean(means, axis=0), _MEAN_OF_MEANS),
        (sum(means), _SUM),
        (sum(sums), _SUM),
        (sum(sums) / len(sums), _SUM),
    )
    return next((hints for value, hints in known if alike(value, values[0])), _VALUE)

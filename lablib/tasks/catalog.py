"""The named tasks. Batches can be split over 1, 2, 4 or 8 ranks."""

from __future__ import annotations

from functools import cache, partial
from itertools import pairwise

from lablib import datasets
from lablib.errors import unknown
from lablib.tasks.blocks import Block, attention, conv, dense, embed, feed_forward, head, logits
from lablib.tasks.chain import Chain
from lablib.tasks.task import Task

TOKENS = 64


def names() -> list[str]:
    """Return the names of the tasks that `get` knows.

    >>> names()
    ['actg175-mlp', 'bytes-gpt', 'cancer-mlp', 'digits-cnn', 'digits-mlp', 'wide-mlp']
    """
    return sorted(_TASKS)


def get(task: str | Task) -> Task:
    """Return the task of that name, or raise LabError; a Task is returned unchanged.

    >>> get("digits-mlp")
    Task digits-mlp: 8 blocks, 75,082 parameters (300 kB), batch 64, SGD lr 0.02 momentum 0.9
    """
    if isinstance(task, Task):
        return task
    if not isinstance(task, str) or task not in _TASKS:
        raise unknown("task", task, names())
    return _TASKS[task]


def _mlp(*widths):
    *hidden, classes = widths
    chain = [dense((before,), after) for before, after in pairwise(hidden)]
    return Chain((*chain, logits((hidden[-1],), classes)))


def _cnn(shape, whole, halved, classes):
    """Make convolutions at full size, pooling, convolutions at half size, and two dense layers."""
    chain: list[Block] = []
    for number, channels in enumerate((*whole, *halved), start=1):
        chain.append(conv(shape, channels, pool=number == len(whole)))
        shape = chain[-1].shape_out
    return Chain((*chain, dense(shape, 64), logits((64,), classes)))


def _gpt(layers, width, vocabulary):
    one = (attention(TOKENS, width), feed_forward(TOKENS, width))
    first = embed(TOKENS, vocabulary, width)
    last = head(TOKENS, width, vocabulary)
    return Chain((first, *layers * one, last))


@cache
def _digits_flat():
    x, y = datasets.load("digits").train
    return x.reshape(len(x), -1), y


@cache
def _digits_images():
    x, y = datasets.load("digits").train
    return x[..., None], y


@cache
def _standardised(name):
    x, y = datasets.load(name).train
    return (x - x.mean(0)) / x.std(0), y


@cache
def _standardised_test(name):
    """Return the test set, scaled with the mean and the standard deviation of the training set."""
    data = datasets.load(name)
    x, y = data.test
    return (x - data.train[0].mean(0)) / data.train[0].std(0), y


@cache
def _text_windows():
    x, y = datasets.load("stdlib-text").train
    windows = len(x) // TOKENS
    x, y = (array[: windows * TOKENS].reshape(windows, TOKENS) for array in (x, y))
    return x, y


@cache
def _wide():
    return datasets.synthetic_classification(samples=2048, features=256, classes=10).train


_TASKS = {
    task.name: task
    for task in (
        Task(
            "digits-mlp",
            _mlp(64, 128, 128, 128, 128, 64, 64, 64, 10),
            data=_digits_flat,
            batch=64,
            lr=0.02,
        ),
        # Its steps are long enough for a speed-up to be visible.
        Task(
            "digits-cnn",
            _cnn((8, 8, 1), whole=(48, 48, 48, 48), halved=(64, 64), classes=10),
            data=_digits_images,
            batch=64,
            lr=0.02,
        ),
        Task(
            "cancer-mlp",
            _mlp(30, 64, 64, 64, 64, 32, 32, 32, 2),
            data=partial(_standardised, "cancer"),
            test=partial(_standardised_test, "cancer"),
            batch=32,
            lr=0.01,
        ),
        # It has no momentum, because hospitals that average weights keep none between two rounds.
        Task(
            "actg175-mlp",
            _mlp(13, 32, 32, 32, 32, 16, 16, 16, 2),
            data=partial(_standardised, "actg175"),
            test=partial(_standardised_test, "actg175"),
            batch=32,
            lr=0.1,
            momentum=0.0,
        ),
        Task(
            "bytes-gpt",
            _gpt(layers=3, width=64, vocabulary=256),
            data=_text_windows,
            batch=16,
            lr=0.1,
        ),
        # Its communication is slow: many bytes of gradients for few samples.
        Task("wide-mlp", _mlp(256, *[1024] * 7, 10), data=_wide, batch=32, lr=0.005),
    )
}

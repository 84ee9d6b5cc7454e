"""7.3, hidden from learners: other cases, other right answers, wrong answers."""

import numpy as np

from lablib.teach.exercise import find

case_of = find("7.3").module.case_of


def cases(seed):
    return [case_of(seed, hospitals=4, size=3), case_of(seed + 1, hospitals=3, size=12)]


def step_by_step(weights, gradient, steps, lr, own, shared, mean):
    y = weights.copy()
    for _ in range(steps):
        y -= lr * (gradient(y) - own + shared)
    own = own - shared + (weights - y) / (steps * lr)
    return mean(y), own, mean(own)


def one_message(weights, gradient, steps, lr, own, shared, mean):
    """Adds up the gradients, and sends changes; both vectors travel in one message."""
    y, total = weights, 0
    for _ in range(steps):
        found = gradient(y)
        total = total + found
        y = y - lr * (found + (shared - own))
    new = total / steps
    changes = mean(np.concatenate([y - weights, new - own]))
    return weights + changes[: len(y)], new, shared + changes[len(y) :]


def plain_averaging(weights, gradient, steps, lr, own, shared, mean):
    y = weights.copy()
    for _ in range(steps):
        y -= lr * gradient(y)
    own = (weights - y) / (steps * lr)
    return mean(y), own, mean(own)


def wrong_sign(weights, gradient, steps, lr, own, shared, mean):
    y = weights.copy()
    for _ in range(steps):
        y -= lr * (gradient(y) + own - shared)
    own = shared - own + (weights - y) / (steps * lr)
    return mean(y), own, mean(own)


def keeps_its_own(weights, gradient, steps, lr, own, shared, mean):
    new, own, shared = step_by_step(
        weights, gradient, steps, lr, own, shared, lambda vector: vector
    )
    return new, own, mean(own)


def with_control(control):
    def answer(weights, gradient, steps, lr, own, shared, mean):
        y = weights.copy()
        for _ in range(steps):
            y -= lr * (gradient(y) - own + shared)
        own = control(weights, y, steps, lr, own, shared, gradient)
        return mean(y), own, mean(own)

    return answer


def shared_of_one(weights, gradient, steps, lr, own, shared, mean):
    weights, own, _ = step_by_step(weights, gradient, steps, lr, own, shared, mean)
    return weights, own, shared


def updates_within_steps(weights, gradient, steps, lr, own, shared, mean):
    y, start = weights.copy(), own
    for _ in range(steps):
        found = gradient(y)
        y -= lr * (found - own + shared)
        own = found
    own = start - shared + (weights - y) / (steps * lr)
    return mean(y), own, mean(own)


def averages_every_step(weights, gradient, steps, lr, own, shared, mean):
    y, total = weights, 0
    for _ in range(steps):
        found = gradient(y)
        total = total + found
        y = mean(y - lr * found)
    return y, total / steps, mean(total / steps)


def changes_its_argument(weights, gradient, steps, lr, own, shared, mean):
    y = weights
    for _ in range(steps):
        y -= lr * (gradient(y) - own + shared)
    own = own - shared + (weights - y) / (steps * lr)
    return mean(y), own, mean(own)


RIGHT = [step_by_step, one_message]
WRONG = {
    "no correction": plain_averaging,
    "wrong sign": wrong_sign,
    "keeps its own weights": keeps_its_own,
    "own without the correction": with_control(
        lambda weights, y, steps, lr, own, shared, gradient: (weights - y) / (steps * lr)
    ),
    "own divided by the steps only": with_control(
        lambda weights, y, steps, lr, own, shared, gradient: own - shared + (weights - y) / steps
    ),
    "own from a new gradient": with_control(
        lambda weights, y, steps, lr, own, shared, gradient: gradient(weights)
    ),
    "shared stays": shared_of_one,
    "corrects by the newest gradient": updates_within_steps,
    "averages in every step": averages_every_step,
    "changes its argument": changes_its_argument,
}

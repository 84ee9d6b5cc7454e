"""Federated training: each rank is a hospital that trains on its own records, which stay there.

A step is one pass of every hospital over its own records. A round is `local_epochs` steps, and only
at its end do the hospitals send something: their weights, which are averaged.

Each rank knows how many records every hospital has and which hospitals take part in a round. In a
real system the server knows this, because hospitals report it.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lablib import datasets
from lablib.errors import LabError, is_whole
from lablib.strategies.flat_buffer import only_float32
from lablib.strategies.strategy import Job
from lablib.tasks import Task

# skew           as in `datasets.split_by_client`
# local_epochs   passes over the records of a hospital between two averages
# drop           probability that a hospital misses a round
OPTIONS = {"skew": None, "local_epochs": 1, "drop": 0.0}
FEDPROX_OPTIONS = {**OPTIONS, "mu": 0.1}  # mu: strength of the pull towards the last average


@dataclass(frozen=True)
class Round:
    """One round of federated training, the same on every rank.

    number   0 for the first round
    shares   each hospital's share of the records that are used in this round; 0.0 if the hospital
             misses the round. They add up to 1
    records  the number of records of each hospital, whether it takes part or not
    """

    number: int
    shares: tuple[float, ...]
    records: tuple[int, ...]


def fits(task: Task, ranks: int, batch: int, **options: Any) -> str:
    """Return why this cannot be trained; "" if it can.

    Weights become one vector, so all must be float32.
    """
    given = FEDPROX_OPTIONS | options
    if batch < ranks:
        return f"{ranks} hospitals share a batch, so it needs at least {ranks} records"
    if not is_whole(given["local_epochs"]) or given["local_epochs"] < 1:
        return f"local_epochs={given['local_epochs']!r} is not a whole number of at least 1"
    if why := not_between(0, 1, drop=given["drop"]) or not_between(0, 1e6, mu=given["mu"]):
        return why
    try:
        datasets.split_by_client(task.data()[1], ranks, given["skew"])
    except LabError as error:
        return f"{error.wrong} ({error.saw})"
    return only_float32(task, ranks, batch)


def not_between(least: float, most: float, **given: object) -> str:
    """Return why the first given value that is not a number in [least, most] is wrong, or ""."""
    for name, number in given.items():
        is_number = isinstance(number, numbers.Real) and not isinstance(number, bool)
        if not is_number or not least <= number <= most:
            return f"{name}={number!r} is not a number from {least:g} to {most:g}"
    return ""


def mini_batch(task: Task, ranks: int, batch: int, skew: float | None = None) -> int:
    """Return the number of records in the largest mini-batch of any hospital."""
    hospitals = datasets.split_by_client(task.data()[1], ranks, skew)
    return max(len(part) for each in hospitals for part in _mini_batches(each, batch // ranks))


def median_bytes(training: int, average: int, every: int) -> int:
    """Return the most bytes that a hospital holds in the median step, as `run.metrics` counts.

    training   the most bytes while it trains
    average    the most bytes while weights are averaged, which only one step in `every` does
    """
    return max(training, average) if every <= 2 else training


def train(
    me: Any,
    job: Job,
    put: Callable[[tuple], tuple],
    learn: Callable[[Any, Any], Any],
    average: Callable[[Round], float | None],
) -> list[float]:
    """Train on this rank's records for `job.steps` steps; return the loss of each step.

    put       moves the arrays (x, y) of a mini-batch to where the rank computes
    learn     (x, y) -> the mean loss of the mini-batch, before it changes the rank's weights
    average   is called on every rank at the end of each round, and may send messages. Every rank
              must take the average as its new weights, even if it misses the round. Returns the
              drift: the distance between the rank's weights and the average, divided by the norm of
              the average; None if it has no average

    The mean of a step's losses over the ranks is the mean over all records of the round.
    """
    targets = job.task.data()[1]
    hospitals = datasets.split_by_client(targets, me.ranks, job.options["skew"], job.seed)
    records = hospitals[me.rank]
    losses = []
    for step in range(job.steps):
        now = round_at(step, job, tuple(map(len, hospitals)))
        share = now.shares[me.rank]
        rng = np.random.default_rng([job.seed, step, me.rank])
        shuffled = rng.permutation(records)
        mini_batches = _mini_batches(shuffled, job.batch // me.ranks) if share else []
        with me.step(samples=len(records) if share else 0):
            parts = [(learn(*put(job.task.rows(rows))), len(rows)) for rows in mini_batches]
            drift = average(now) if ends_round(step, job) else None
        total = sum(float(mean_loss) * size for mean_loss, size in parts)
        losses.append(total / len(records) * share * me.ranks)
        if share and drift is not None:
            me.log(round=now.number, drift=drift)
    return losses


def round_at(step: int, job: Job, records: tuple[int, ...]) -> Round:
    """Return the round of a step. A hospital drops out at random, but at least one takes part.

    records   the number of records of each hospital
    """
    number = step // job.options["local_epochs"]
    draws = np.random.default_rng([job.seed, number]).random(len(records))
    takes_part = (draws >= job.options["drop"]) | (draws == draws.max())
    used = np.where(takes_part, records, 0)
    return Round(number, tuple((used / used.sum()).tolist()), records)


def ends_round(step: int, job: Job) -> bool:
    """Return True if a round ends with this step. The last round may be shorter than the others."""
    return (step + 1) % job.options["local_epochs"] == 0 or step + 1 == job.steps


def named(rank: int, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights of a hospital that shares them with nobody, with its number in the names.

    >>> list(named(2, {"0.dense.bias": np.zeros(3)}))
    ['hospital 2: 0.dense.bias']
    """
    return {f"hospital {rank}: {name}": array for name, array in weights.items()}


def of_hospital(number: int, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights of one hospital from those of a run of `local_only`, without its number.

    Raises LabError if there is no such hospital.

    >>> list(of_hospital(2, named(2, {"0.dense.bias": np.zeros(3)})))
    ['0.dense.bias']
    """
    start = f"hospital {number}: "
    found = {
        name.removeprefix(start): array for name, array in weights.items() if name.startswith(start)
    }
    if not found:
        raise LabError(
            f"There are no weights of hospital {number!r}.",
            saw=f"names such as {next(iter(weights), None)!r}",
            do="pass run.history.weights of the strategy local_only, and one of its ranks",
        )
    return found


def _mini_batches(records, size):
    """Divide the records into the fewest parts of at most `size`, which are almost equal."""
    return np.array_split(records, -(-len(records) // size))

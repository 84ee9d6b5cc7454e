"""Records in which every number is unlike all others, and the search for them in bytes."""

from __future__ import annotations

import pickle

import numpy as np

import lablib as lab
from lablib import strategies
from lablib.datasets import split_by_client

RANKS, RECORDS, STEPS = 4, 48, 4
MODEL = lab.tasks.get("actg175-mlp").model
FEATURES = 13
VECTOR = 4 * lab.tasks.get("actg175-mlp").parameters  # bytes of all weights


def records(count=RECORDS):
    """Return records in which every number is unlike all others, with two classes."""
    x = np.random.default_rng(7).standard_normal((count, FEATURES)).astype(np.float32)
    return x, np.arange(count) % 2


TASK = lab.Task("canaries", MODEL, records, batch=16, lr=0.1, momentum=0.0)


def found_in(sent: bytes) -> list[str]:
    """Return which records are in these bytes, if two neighbouring values are, in what form."""
    x, _ = records()
    forms = {str(np.dtype(dtype)): x.astype(dtype) for dtype in ("<f4", ">f4", "<f8", ">f8", "<f2")}
    return [
        f"record {number} as {form}"
        for form, rows in forms.items()
        for number, row in enumerate(rows)
        if any(pair in sent for pair in _pieces(row))
    ] + [f"record {number} as text" for number, row in enumerate(x)
         if any(repr(float(value))[:10].encode() in sent for value in row)]  # fmt: skip


def _pieces(row):
    """Return pieces of a record that are long enough not to occur by accident."""
    step = max(1, 8 // row.itemsize)
    return [row[start : start + step].tobytes() for start in range(len(row) - step + 1)]


def returned(values: dict, logged) -> bytes:
    """Return the values and the logged numbers of a run as bytes.

    values   {rank: what a strategy's `train` returned}
    """
    arrays = [array.tobytes() for value in values.values() for array in value["weights"].values()]
    return b"".join(arrays) + pickle.dumps((repr(values), repr(logged)))


def a_record(me, job):
    """Return the first record of this rank's hospital."""
    x, y = job.task.data()
    return x[split_by_client(y, me.ranks, None, job.seed)[me.rank][0]]


def federated(framework: str) -> set[str]:
    """Return the names of the strategies in the federated family."""
    names = strategies.names(framework)
    return {n for n in names if strategies.get(n, framework).STRATEGY.family == "federated"}

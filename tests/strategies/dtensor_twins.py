"""Print, as JSON, training steps of the DTensor strategies on a task.

For each case these are the losses, the messages of a step, and the most bytes that the fullest rank
has asked TensorFlow's allocator for. The recorder does not see DTensor's messages. But TensorFlow
turns a step into functions, including the collectives, which can be read after the first step.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path

import allocations

import lablib as lab
from lablib import strategies
from lablib.strategies import column_row, dense_dtensor

STEPS = 3
CASES = [
    ("dtensor_sharded", 2),
    ("dtensor_sharded", 4),
    ("dtensor_tensor", 2),
    ("dtensor_tensor", 4),
    ("dtensor_data_model", 4),
]
_NAMES = {"CollectiveReduceV2": "all_reduce", "CollectiveGatherV2": "all_gather"}


def nothing_is_cut():
    train = dense_dtensor.train

    def whole(me, job, mesh, cuts, *args, **options):
        return train(me, job, mesh, dict.fromkeys(cuts, {}), *args, **options)

    dense_dtensor.train = whole


def everybody_sees_the_whole_batch():
    train = dense_dtensor.train

    def on_all_the_data(me, job, mesh, cuts, samples_along, gather=False):
        return train(me, job, mesh, cuts, samples_along=None, gather=gather)

    dense_dtensor.train = on_all_the_data


def rows_without_columns():
    """Keep the first layer of each pair whole on every rank, so that its outputs must be cut."""
    cut_axes = column_row.cut_axes
    column_row.cut_axes = lambda task: {
        name: axis for name, axis in cut_axes(task).items() if name.endswith("kernel") and not axis
    }


def a_loss_summed_over_the_ranks():
    from dataclasses import replace

    train = dense_dtensor.train

    def summed(me, job, mesh, *args, **options):
        steeper = replace(job.task, lr=job.task.lr * me.ranks)
        return train(me, replace(job, task=steeper), mesh, *args, **options)

    dense_dtensor.train = summed


# Changes of lablib that make a strategy wrong.
TWINS = [
    ("dtensor_sharded", 2, nothing_is_cut),
    ("dtensor_sharded", 2, everybody_sees_the_whole_batch),
    ("dtensor_sharded", 2, a_loss_summed_over_the_ranks),
    ("dtensor_tensor", 2, nothing_is_cut),
    ("dtensor_tensor", 2, rows_without_columns),
    ("dtensor_tensor", 2, a_loss_summed_over_the_ranks),
    ("dtensor_data_model", 4, nothing_is_cut),
    ("dtensor_data_model", 4, everybody_sees_the_whole_batch),
]
RUNS = {
    "digits-mlp": [("dtensor_sharded", 1), *CASES, *TWINS],
    "wide-mlp": [*CASES, ("dtensor_sharded", 2, nothing_is_cut)],
}


def of_step(me, job, name, twin=None):
    """Train, and return (losses, messages of a step, bytes).

    The messages are {name: (calls, payload bytes)}. The bytes are the most in use before the first
    step and in the last one.
    """
    if twin:
        twin()
    step, seen, log = me.step, [], Path(tempfile.gettempdir()) / f"allocations-{me.rank}"

    @contextmanager
    def watched(samples=0):
        before = set(_functions())
        allocations.mark()
        with step(samples):
            yield
        allocations.mark()
        known = _functions()
        seen.extend(node for new in known.keys() - before for node in known[new].node_def)

    me.step = watched
    with allocations.logged(log):
        losses = strategies.get(name, "tensorflow").train(me, job)["losses"]
    begins, *_, last_step, _ = allocations.most_bytes(log)
    most_bytes = {"begins": begins, "last_step": last_step}
    return {"losses": losses, "messages": _messages(seen), "most_bytes": most_bytes}


def _functions():
    from tensorflow.python.eager import context

    known = context.context()
    return {name: known.get_function_def(name) for name in known.list_function_names()}


def _messages(nodes):
    total = {}
    for node in nodes:
        if node.op.startswith("Collective") and node.op in _NAMES:
            (shape,) = node.attr["_output_shapes"].list.shape
            calls, nbytes = total.get(_NAMES[node.op], (0, 0))
            nbytes += 4 * prod(dim.size for dim in shape.dim)
            total[_NAMES[node.op]] = calls + 1, nbytes
    return total


def of_all_ranks(task, name, ranks, twin=None):
    """Return rank 0's losses, all ranks' messages, and the most bytes of the fullest rank."""
    task = lab.tasks.get(task)
    step = partial(of_step, job=strategies.Job(task, STEPS, task.batch), name=name, twin=twin)
    values = lab.Cluster(ranks, framework="tensorflow", threads=1, timeout_s=100).run(step).values
    calls, nbytes = Counter(), Counter()
    for value in values:
        for kind, (times, size) in value["messages"].items():
            calls[kind] += times
            nbytes[kind] += size
    return {
        "losses": values[0]["losses"],
        "messages": {kind: (calls[kind], nbytes[kind]) for kind in calls},
        "most_bytes": {
            when: max(value["most_bytes"][when] for value in values)
            for when in ("begins", "last_step")
        },
    }


def key(name, ranks, twin=None):
    return f"{name}, {ranks} ranks" + (f", {twin.__name__}" if twin else "")


if __name__ == "__main__":
    task, *chosen = sys.argv[1:]
    runs = {key(*run): run for run in RUNS[task]}
    print(json.dumps({name: of_all_ranks(task, *runs[name]) for name in chosen or runs}))

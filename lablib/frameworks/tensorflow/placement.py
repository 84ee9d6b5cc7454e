"""Derive the messages that `tf.device` placement causes from a graph.

If a tensor is made on one task and used on another, TensorFlow sends it once. There is no call that
could be wrapped to observe this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import tensorflow as tf

from lablib.frameworks.tensorflow.compat import device_of_this_thread


def crossings(
    graph: tf.Graph, home: int, rank_of_task: Mapping[tuple[str, int], int]
) -> Iterator[tuple[tf.Tensor, int, int]]:
    """Yield (tensor, source rank, target rank) of every tensor that another task's device uses.

    home   the rank that calls the graph: arguments come from it, and results return to it

    An operation without a device is assumed to run where its first placed input is made.
    """
    place, sent = {}, set()
    uses = [(tensor, op) for op in graph.get_operations() for tensor in op.inputs]
    for op in graph.get_operations():
        place[op] = _rank(op.device, rank_of_task)
        if place[op] is None and op.type == "Placeholder" and _is_data(op.outputs[0]):
            place[op] = home
        if place[op] is None:
            place[op] = next((place[t.op] for t in op.inputs if place.get(t.op) is not None), None)
    for tensor, op in [*uses, *((tensor, None) for tensor in graph.outputs)]:
        source = place.get(tensor.op)
        target = place[op] if op else home
        if None in (source, target) or source == target or (tensor.name, target) in sent:
            continue
        if _is_data(tensor):
            sent.add((tensor.name, target))
            yield tensor, source, target


def nbytes_of(tensor: tf.Tensor | object) -> int:
    """Return the bytes of a tensor; 0 if its shape is unknown, or if it is not a tensor."""
    if not isinstance(tensor, tf.Tensor) or not tensor.shape.is_fully_defined():
        return 0
    return tensor.shape.num_elements() * tensor.dtype.size


def runs_elsewhere(home: int, rank_of_task: Mapping[tuple[str, int], int]) -> bool:
    """Return True if this thread sends its operations to another task, as a coordinator does."""
    there = _rank(device_of_this_thread(), rank_of_task)
    return there not in (None, home)


def _is_data(tensor):
    """Return True for data, False for a variable's handle: the variable stays in place."""
    return tensor.dtype not in (tf.resource, tf.variant)


def _rank(device, rank_of_task):
    spec = tf.DeviceSpec.from_string(device or "")
    return rank_of_task.get((spec.job, spec.task))

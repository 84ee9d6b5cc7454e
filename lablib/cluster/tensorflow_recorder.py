"""Writes down the messages of a TensorFlow rank.

Collectives, those of `MultiWorkerMirroredStrategy` included, are made by a few functions of
`tensorflow.python.ops.collective_ops`: these are wrapped. In a traced graph the wrapper adds a
clock before and after the collective, and a queue takes both times to the recorder.

Messages that `tf.device` placement causes have no call that could be wrapped. They are derived from
the graph: a tensor made on one task and used on another travels once.

Seen with TensorFlow 2.21. Traffic of parameter servers and of DTensor's own collectives passes by.
"""

from __future__ import annotations

import functools
import json
import os
import time

import tensorflow as tf
from tensorflow.python.eager.polymorphic_function import atomic_function
from tensorflow.python.framework import ops
from tensorflow.python.ops import collective_ops

from lablib.record.recorder import Recorder, is_learners, learners_line

# The function: the name the learner knows.
_COLLECTIVES = {
    "all_reduce": "all_reduce",
    "all_reduce_v2": "all_reduce",
    "all_gather": "all_gather",
    "all_gather_v2": "all_gather",
    "all_to_all_v2": "all_to_all",
    "broadcast_send": "broadcast",
    "broadcast_send_v2": "broadcast",
    "broadcast_recv": "broadcast",
    "broadcast_recv_v2": "broadcast",
}
_MOST_A_GRAPH = 1 << 20  # messages that one call of a graph may pass
_LOOK_BACK = 200  # graph operations searched for the backward pass that made a gradient

_recorder: Recorder
_ranks: int
_home: int
_rank_of_task: dict[tuple[str, int], int]
_to_monotonic_s: float


def join(recorder: Recorder, *, rank: int, rank_of_task: dict, ranks: int, threads: int) -> None:
    """Record the messages of this process, rank `rank`.

    rank_of_task   the rank of each (job, task) that TF_CONFIG names
    threads        threads of each of TensorFlow's pools
    """
    global _recorder, _home, _ranks, _rank_of_task, _to_monotonic_s
    _recorder, _home, _ranks, _rank_of_task = recorder, rank, ranks, rank_of_task
    _to_monotonic_s = recorder.clock() - time.time()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    for function, name in _COLLECTIVES.items():
        setattr(collective_ops, function, _recorded(getattr(collective_ops, function), name))
    run_graph = atomic_function.AtomicFunction.call_flat
    atomic_function.AtomicFunction.call_flat = _watched(run_graph)


def serve() -> None:
    """Be the server that TF_CONFIG says, until the process is ended."""
    config = json.loads(os.environ["TF_CONFIG"])
    task = config["task"]
    server = tf.distribute.Server(
        config["cluster"], job_name=task["type"], task_index=task["index"], protocol="grpc"
    )
    server.join()


def _recorded(collective, name):
    @functools.wraps(collective)
    def call(first, *args, **kwargs):
        if tf.executing_eagerly():
            return _eager(collective, name, first, args, kwargs)
        return _traced(collective, name, first, args, kwargs)

    return call


def _eager(collective, name, first, args, kwargs):
    number = _recorder.issue(name, _payload(first), _everyone(), channel="collectives")
    start_s = _recorder.waits(number)
    answer = collective(first, *args, **kwargs)
    _recorder.waited(number, start_s)
    _recorder.done(number)
    return answer


def _traced(collective, name, first, args, kwargs):
    is_payload = isinstance(first, tf.Tensor)
    with tf.control_dependencies([first] if is_payload else []):
        start_s = tf.timestamp()
    with tf.control_dependencies([start_s]):
        answer = collective(first, *args, **kwargs)
    with tf.control_dependencies([answer]):
        end_s = tf.timestamp()
    phase = "backward" if is_payload and _is_gradient(first) else "other"
    nbytes = _payload(first if is_payload else answer)
    _traced_messages.append((name, nbytes, phase, _line(answer)))
    _passed().enqueue([len(_traced_messages) - 1, start_s, end_s])
    return answer


# What was traced, by number; and the queue in which graphs leave (number, start, end) of what was
# passed. A queue costs some microseconds a message, a call to Python from the graph some fifty.
_traced_messages: list[tuple] = []
_queue: list[tf.queue.FIFOQueue] = []


def _passed():
    if not _queue:
        with tf.init_scope(), tf.device("CPU:0"):
            types = [tf.int64, tf.float64, tf.float64]
            _queue.append(tf.queue.FIFOQueue(_MOST_A_GRAPH, types, shapes=[()] * 3))
    return _queue[0]


def _note_passed():
    """Hand the recorder what a graph that has just ended has passed."""
    count = int(_passed().size())
    if not count:
        return
    numbers, starts_s, ends_s = (t.numpy() for t in _passed().dequeue_many(count))
    for order in starts_s.argsort(kind="stable"):
        name, nbytes, phase, line = _traced_messages[numbers[order]]
        number = _recorder.issue(
            name, nbytes, _everyone(), channel="collectives", phase=phase, line=line,
            at_s=float(starts_s[order]) + _to_monotonic_s,
        )  # fmt: skip
        _recorder.done(number, at_s=float(ends_s[order]) + _to_monotonic_s)


def _payload(tensor):
    if not isinstance(tensor, tf.Tensor) or not tensor.shape.is_fully_defined():
        return 0
    return tensor.shape.num_elements() * tensor.dtype.size


def _everyone():
    """The only group that the strategies of TensorFlow use."""
    return tuple(range(_ranks))


def _is_gradient(tensor):
    """Whether an operation of a `GradientTape` is among those that the tensor comes from."""
    front, seen = [tensor.op], set()
    while front and len(seen) < _LOOK_BACK:
        op = front.pop(0)
        if op.name.startswith("gradient_tape") or "/gradient_tape" in op.name:
            return True
        if op.name not in seen:
            seen.add(op.name)
            front += [source.op for source in op.inputs]
    return False


def _line(tensor):
    """The learner's line that made the tensor. TensorFlow maps AutoGraph's lines back to theirs."""
    for frame in reversed(list(tensor.op.traceback or ())):
        if is_learners(frame.filename):
            return f"{frame.filename}:{frame.lineno}"
    return learners_line()


def _watched(run_graph):
    @functools.wraps(run_graph)
    def call_flat(self, *args):
        answer = run_graph(self, *args)
        if tf.executing_eagerly():
            if _queue:
                _note_passed()
            if len(_rank_of_task) > 1:
                for nbytes, source, target, line in _partition(self):
                    _recorder.derived("send", nbytes, (source, target), line)
        return answer

    return call_flat


_partitions: dict[bytes, list] = {}


def _partition(function):
    if function.name not in _partitions:
        _partitions[function.name] = list(_crossings(function.graph))
    return _partitions[function.name]


def _crossings(graph: ops.Graph):
    """(nbytes, source rank, target rank, line) of every tensor used on another task's device.

    Arguments come from the rank that calls the graph, and results go back to it. An operation
    without a device is taken to run where its first placed input is made.
    """
    place, sent = {}, set()
    uses = [(tensor, op) for op in graph.get_operations() for tensor in op.inputs]
    for op in graph.get_operations():
        place[op] = _task(op.device)
        if place[op] is None and op.type == "Placeholder" and _is_data(op.outputs[0]):
            place[op] = _home
        if place[op] is None:
            place[op] = next((place[t.op] for t in op.inputs if place.get(t.op) is not None), None)
    for tensor, op in [*uses, *((tensor, None) for tensor in graph.outputs)]:
        source, target = place.get(tensor.op), place[op] if op else _home
        if None in (source, target) or source == target or (tensor.name, target) in sent:
            continue
        if _is_data(tensor):
            sent.add((tensor.name, target))
            yield _payload(tensor), source, target, _line(tensor)


def _is_data(tensor):
    """Not a handle: a variable stays where it is."""
    return tensor.dtype not in (tf.resource, tf.variant)


def _task(device):
    spec = tf.DeviceSpec.from_string(device or "")
    return _rank_of_task.get((spec.job, spec.task))

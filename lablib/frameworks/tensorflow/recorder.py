"""Record the messages of a TensorFlow rank.

All collectives, including those of `MultiWorkerMirroredStrategy`, are made by a few functions of
`tensorflow.python.ops.collective_ops`, which are wrapped here. In a traced graph the wrapper adds a
clock before and after the collective, and a queue takes both times to the recorder.

A call of a graph is recorded after it has ended, as `graph.py` describes it: compute, messages and
waits, in one order that does not depend on the load. The messages have the times of the clocks.

Messages that `tf.device` placement causes have no call that could be wrapped. They are derived from
the graph: a tensor that is made on one task and used on another is sent once.

This was tested with TensorFlow 2.21. The recorder does not see the traffic of parameter servers and
of DTensor's own collectives, nor what other tasks compute for this one. So such runs cannot be
modelled.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import os
import time
from collections import defaultdict
from contextlib import contextmanager

import tensorflow as tf

from lablib.frameworks.rank_config import RankConfig
from lablib.frameworks.refusals import ServerNotStarted
from lablib.frameworks.tensorflow import compat, graph, placement
from lablib.frameworks.tensorflow.compute_seconds import (
    CpuSeconds,
    ElapsedSeconds,
    in_messages_s,
    shared,
)
from lablib.frameworks.tensorflow.costs import CountedCosts
from lablib.frameworks.tensorflow.graph import CLOCK, LOOP, MESSAGE, Compute, Issue, set_mark
from lablib.frameworks.tensorflow.memory import LiveBytes
from lablib.frameworks.tensorflow.peak_memory import peak_bytes
from lablib.frameworks.tensorflow.placement import nbytes_of
from lablib.record.learners_code import is_learners, learners_line
from lablib.record.recorder import Recorder
from lablib.record.rows import Waited

_NOT_MODELLED = {
    "DTensor over several processes sends its messages past everything that could be recorded": [
        "tensorflow:experimental.dtensor.create_distributed_mesh",
        "tensorflow:experimental.dtensor.initialize_accelerator_system",
    ],
    "what other tasks compute for this one cannot be recorded here": [
        "tensorflow:config.experimental_connect_to_cluster",
        "tensorflow:config.experimental_connect_to_host",
    ],
    "a raw operation may be one of some ranks; the model takes collectives for those of all": [
        f"tensorflow:raw_ops.{name}"
        for name in (*compat.RAW_COLLECTIVES, *compat.NO_MESSAGES)
        if name.startswith("Collective")
    ],
}
_MOST_A_GRAPH = 1 << 20  # the most messages that one call of a graph may send
# The number of graph operations searched for the backward pass that made a gradient.
_LOOK_BACK = 200

_recorder: Recorder
_ranks: int
_home: int
_rank_of_task: dict[tuple[str, int], int]
_to_monotonic_s: float
_in_seconds: CpuSeconds | ElapsedSeconds | None = None  # None: FLOPs and bytes are counted


def join(recorder: Recorder, config: RankConfig) -> None:
    """Record what this process sends and computes."""
    global _recorder, _home, _ranks, _rank_of_task, _to_monotonic_s, _in_seconds
    compat.NAMES.check()
    _recorder = recorder
    _home = config.rank
    _ranks = config.ranks
    _rank_of_task = config.rank_of_task
    _to_monotonic_s = recorder.clock() - time.time()
    paths = compat.collectives()
    for function, about in {**compat.COLLECTIVES, **compat.RAW_COLLECTIVES}.items():
        compat.replace(paths[function], functools.partial(_recorded, *about))
    if _ranks > 1:
        compat.close_gaps()
    compat.replace("tensorflow.python.ops.while_v2:_build_while_op", _reported)
    compat.replace(compat.CALL_OF_A_GRAPH, _watched)
    _record_phases()
    if config.counts:
        recorder.spent = CountedCosts().take
        recorder.memory = LiveBytes()
    else:
        recorder.spent = _in_seconds = CpuSeconds() if config.threads == 1 else ElapsedSeconds()
    if config.modelled and _ranks > 1:
        for what, paths in _NOT_MODELLED.items():
            compat.NAMES.forbid(paths, what)


def server() -> tf.distribute.Server:
    """Start the server that TF_CONFIG describes. Raises ServerNotStarted."""
    config = json.loads(os.environ["TF_CONFIG"])
    task = config["task"]
    try:
        return tf.distribute.Server(
            config["cluster"], job_name=task["type"], task_index=task["index"], protocol="grpc"
        )
    except tf.errors.OpError as error:
        raise ServerNotStarted(error.message) from error


def _recorded(name, payload, collective):
    parameters = list(inspect.signature(collective).parameters)

    @functools.wraps(collective)
    def call(*args, **kwargs):
        sent = {**dict(zip(parameters, args)), **kwargs}.get(payload)
        run = functools.partial(collective, *args, **kwargs)
        return (_eager if tf.executing_eagerly() else _traced)(run, name, sent)

    return call


def _eager(run, name, sent):
    number = _recorder.issue(name, nbytes_of(sent), _everyone(), channel="collectives")
    start_s = _recorder.waits(number)
    answer = run()
    _recorder.waited(number, start_s)
    _recorder.done(number)
    return answer


def _traced(run, name, sent):
    is_payload = isinstance(sent, tf.Tensor)
    start_s = _now([sent] if is_payload else [])
    with tf.control_dependencies([start_s]):
        answer = run()
    end_s = _now([answer])
    phase = "backward" if tf.is_symbolic_tensor(sent) and _is_gradient(sent) else "other"
    nbytes = nbytes_of(sent if is_payload else answer)
    number = len(_traced_messages)
    set_mark(answer.op, MESSAGE, number)
    _traced_messages.append((name, nbytes, phase, _line(answer)))
    _report(number, start_s, end_s)
    # otherwise, users of the answer may run before the clock
    with tf.control_dependencies([end_s]):
        return tf.identity(answer)


def _now(after):
    """Return the time in a graph at which these tensors are ready."""
    with tf.control_dependencies(after):
        now_s = tf.timestamp()
    _set_apart(now_s.op)
    return now_s


def _set_apart(op):
    """Mark an operation of the kit, and exclude it from the order of stateful operations.

    Otherwise a broadcast initial value of a variable would depend on everything that the function
    does before it, and TensorFlow could not make it before the first call.
    """
    set_mark(op, CLOCK, 1)
    compat.run_independently(op)


def _reported(build_loop):
    """Make a loop report how often its body ran, because this is unknown when it is traced."""

    @functools.wraps(build_loop)
    def call(*args, **kwargs):
        outputs = build_loop(*args, **kwargs)
        loop = outputs[0].op  # the first variable of a loop is its counter
        if "While" in loop.type:
            number = next(_loops)
            set_mark(loop, LOOP, number)
            _report(-1 - number, tf.cast(outputs[0], tf.float64), 0.0)
        return outputs

    return call


# Traced messages by number; and the queue in which graphs put (number, start, end) of each sent
# message, and (-1 - number, times, 0) of each loop. A queue costs a few microseconds for each
# message; a call from the graph to Python would cost about fifty.
_traced_messages: list[tuple] = []
_loops = itertools.count()
_queue: list[tf.queue.FIFOQueue] = []


def _report(*row):
    if not _queue:
        with tf.init_scope(), tf.device("CPU:0"):
            types = [tf.int64, tf.float64, tf.float64]
            _queue.append(tf.queue.FIFOQueue(_MOST_A_GRAPH, types, shapes=[()] * 3))
    _set_apart(_queue[0].enqueue(row))


def _reports():
    """Return what graphs have reported since the last call.

    The first value is {number: [(start, end) of each message, in order]}. The second says how often
    each message was sent and each loop's body ran.
    """
    times, ran = defaultdict(list), defaultdict(int)
    count = int(_queue[0].size()) if _queue else 0
    if count:
        numbers, starts, ends = (t.numpy().tolist() for t in _queue[0].dequeue_many(count))
        for number, start, end in sorted(zip(numbers, starts, ends)):
            if number < 0:
                ran["loop", -1 - number] += int(start)
            else:
                times[number].append((start + _to_monotonic_s, end + _to_monotonic_s))
                ran["message", number] += 1
    return times, ran


def _write_down(program, seconds, call):
    """Record the rows of a graph that has just ended; it took `seconds`, unless costs are counted.

    call   (start, end) of the call
    """
    times, ran = _reports()
    spans = [span for passed in times.values() for span in passed]
    if _in_seconds and _in_seconds.holds_messages:
        seconds = max(0.0, seconds - in_messages_s(spans))
    latest: dict[int, tuple] = {}
    for part, share_s in shared(graph.unrolled(program, ran), seconds, call, spans):
        if isinstance(part, Compute):
            _recorder.computed(part.phase, () if _in_seconds else part.costs, share_s)
        elif isinstance(part, Issue):
            # TensorFlow makes initial values in a separate graph, which has no queue.
            span = times[part.message].pop(0) if times[part.message] else call
            latest[part.message] = _write_message(part.message, *span)
        elif part.message in latest:
            _write_wait(*latest.pop(part.message))
    for message in sorted(times):  # sent in a way that the graph does not show
        for start_s, end_s in times[message]:
            _write_wait(*_write_message(message, start_s, end_s))


def _write_message(message, start_s, end_s):
    name, nbytes, phase, line = _traced_messages[message]
    number = _recorder.issue(
        name, nbytes, _everyone(), channel="collectives", phase=phase, line=line, at_s=start_s
    )
    _recorder.done(number, at_s=end_s)
    return number, end_s


def _write_wait(number, end_s):
    # The time at which the graph began to wait is unknown. So the wait is in the program, but takes
    # no time on the clock.
    _recorder.rows.append(Waited(number, end_s, end_s))


def _record_phases():
    """Record passes outside of graphs; inside of graphs a tape only traces them.

    Outside of graphs, the forward pass is the code that a tape watches.
    """
    for name, make in (("__enter__", _begins), ("__exit__", _ends), ("gradient", _goes_back)):
        compat.replace(f"tensorflow:GradientTape.{name}", make)


def _begins(enter):
    @functools.wraps(enter)
    def call(self):
        if tf.executing_eagerly():
            _recorder.enters("forward")
        return enter(self)

    return call


def _ends(leave):
    @functools.wraps(leave)
    def call(self, *error):
        answer = leave(self, *error)
        if tf.executing_eagerly():
            _recorder.leaves()
        return answer

    return call


def _goes_back(gradient):
    @functools.wraps(gradient)
    def call(self, *args, **kwargs):
        if not tf.executing_eagerly():
            return gradient(self, *args, **kwargs)
        _recorder.enters("backward")
        try:
            return gradient(self, *args, **kwargs)
        finally:
            _recorder.leaves()

    return call


def _everyone():
    """Return the only group that TensorFlow's strategies use: all ranks."""
    return tuple(range(_ranks))


def _is_gradient(tensor):
    """Return True if the tensor depends on an operation of a `GradientTape`."""
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
    """Return the learner's line that made the tensor; TensorFlow maps AutoGraph's lines to it."""
    for frame in reversed(list(tensor.op.traceback or ())):
        if is_learners(frame.filename):
            return f"{frame.filename}:{frame.lineno}"
    return learners_line()


def _watched(run_graph):
    @functools.wraps(run_graph)
    def call_flat(self, *args):
        if not tf.executing_eagerly():
            return run_graph(self, *args)
        if placement.runs_elsewhere(_home, _rank_of_task):
            return run_graph(self, *args)  # another task's work, which this task only sends there
        _recorder.computed()
        if _recorder.memory:
            with _nothing_spent():
                _recorder.memory.calls(self, args, _work_out(self, args)[1])
        start_s = _recorder.clock()
        answer = run_graph(self, *args)
        call = start_s, _recorder.clock()
        _, seconds = _recorder.spent()
        with _nothing_spent():
            _write_down(_work_out(self, args)[0], seconds, call)
            if len(_rank_of_task) > 1:
                for nbytes, source, target, line in _crossings(self):
                    _recorder.derived("send", nbytes, (source, target), line)
        return answer

    return call_flat


@contextmanager
def _nothing_spent():
    """Exclude the recorder's own work from the program."""
    spent, _recorder.spent = _recorder.spent, lambda: ((), 0.0)
    try:
        yield
    finally:
        _recorder.spent = spent
        spent()


_open_arguments: dict[bytes, list[int]] = {}
_worked_out: dict[tuple, tuple[list, int]] = {}


def _work_out(function, arguments):
    """Return what a call with these arguments does, and the bytes that it holds at once.

    The bytes are 0 unless they are counted. The result is cached for each combination of shapes.
    """
    name = function.name
    if name not in _open_arguments:
        inputs = enumerate(function.graph.inputs)
        _open_arguments[name] = [n for n, t in inputs if not t.shape.is_fully_defined()]
    key = name, *(tuple(arguments[number].shape) for number in _open_arguments[name])
    if key not in _worked_out:
        shapes = [argument.shape for argument in arguments]
        held_bytes = peak_bytes(function, shapes) if _recorder.memory else 0
        _worked_out[key] = graph.program_of(function, shapes), held_bytes
    return _worked_out[key]


_known_crossings: dict[bytes, list] = {}


def _crossings(function):
    if function.name not in _known_crossings:
        found = placement.crossings(function.graph, _home, _rank_of_task)
        _known_crossings[function.name] = [
            (nbytes_of(tensor), source, target, _line(tensor)) for tensor, source, target in found
        ]
    return _known_crossings[function.name]

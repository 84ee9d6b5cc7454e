"""Calculate the most bytes of tensors that a call of a traced graph holds at once.

The bytes are not observed. They are calculated from the shapes of the tensors and from the order in
which TensorFlow's executor runs operations if each of its pools has one thread (`ScheduleReady` in
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/common_runtime/executor.cc). So
the result is the same in every run, with any load and any number of threads.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from math import prod

import tensorflow as tf

from lablib.frameworks.tensorflow.compat import called_graph, number_of_outputs
from lablib.frameworks.tensorflow.costs import is_data, is_product
from lablib.frameworks.tensorflow.graph import Shapes, causes_first

# The results of these operations share the memory of their first input.
VIEWS = set(
    """
    Identity IdentityN StopGradient PreventGradient Reshape Squeeze ExpandDims EnsureShape Bitcast
    ReadVariableOp
""".split()
)
_GIVEN = ("Placeholder", "Const")

_known_peaks: dict[tuple, int] = {}


def peak_bytes(function, shapes: list[tf.TensorShape]) -> int:
    """Return the most bytes in addition to arguments and variables; results are counted.

    function   TensorFlow's AtomicFunction
    shapes     shapes of the arguments in this call

    A tensor lives until the last operation that needs it has run. An operation writes its result
    into an input of the same size that is not needed any more, unless it multiplies matrices or
    convolves. Unknown sizes count as 1, and a loop's body counts once. If there are branches, the
    largest one counts. Constants, and the tensors that a loop keeps of every turn for its gradient
    (a TensorList), are not counted.
    """
    key = function.name, *map(str, shapes)
    if key not in _known_peaks:
        _known_peaks[key] = _Call(function, shapes).peak_bytes()
    return _known_peaks[key]


def memory_of(tensor: tf.Tensor) -> tf.Tensor:
    """Return the tensor of the graph whose memory this tensor uses.

    This is the tensor itself, unless it is a view, or the result of a call of a function that
    returns one of its arguments or returns the same tensor twice.
    """
    while tensor.op.type in VIEWS:
        tensor = tensor.op.inputs[tensor.value_index]
    if not tensor.op.type.endswith("PartitionedCall"):
        return tensor
    function = called_graph(tensor.graph, tensor.op.get_attr("f").name)
    if function is None:  # for example a function of the runtime
        return tensor
    side, number = passed_through(function)[tensor.value_index]
    return memory_of(tensor.op.inputs[number]) if side == "input" else tensor.op.outputs[number]


_known_passes: dict[bytes, list[tuple[str, int]]] = {}


def passed_through(function) -> list[tuple[str, int]]:
    """Return for each output whose memory it uses: ("input", number) or ("output", number).

    A value read from a variable that the function may change has its own memory.
    """
    if function.name not in _known_passes:
        outputs = list(map(_memory, _outputs(function)))
        first = {
            tensor.ref(): ("input", number)
            for number, tensor in enumerate(function.graph.inputs)
            if not may_change(tensor)
        }
        for number, memory in enumerate(outputs):
            first.setdefault(memory, ("output", number))
        _known_passes[function.name] = [first[memory] for memory in outputs]
    return _known_passes[function.name]


def may_change(argument: tf.Tensor) -> bool:
    """Return True if a graph does more with this argument, a variable's handle, than read it."""
    used = argument.consumers() if argument.dtype == tf.resource else []
    return any(op.type != "ReadVariableOp" for op in used)


def _outputs(function):
    """Return the results of a call; the graph lists more after a gradient has been taken."""
    return function.graph.outputs[: number_of_outputs(function)]


class _Call:
    def __init__(self, function, shapes):
        self.graph = graph = function.graph
        self.shapes = Shapes(graph, shapes)
        outputs = _outputs(function)
        self.runs = set(causes_first([t.op for t in outputs] + graph.control_outputs))
        self.ops = [op for op in graph.get_operations() if op in self.runs]
        self.needed = Counter(map(_memory, outputs))
        for op in filter(_is_work, self.ops):
            self.needed.update(map(_memory, op.inputs))

    def peak_bytes(self) -> int:
        held: dict = {}
        now = peak = 0
        for op in filter(_is_work, self._in_order()):
            used = Counter(map(_memory, op.inputs))
            last = [memory for memory in used if self.needed[memory] == used[memory]]
            inside = now + self._inside(op)
            now += self._make(op, held, last)
            peak = max(peak, now, inside)
            self.needed.subtract(used)
            for memory in [*last, *(made.ref() for made in op.outputs)]:
                if not self.needed[memory]:
                    now -= held.pop(memory, 0)
        return peak

    def _make(self, op, held, last):
        """Return the bytes of the operation's results that are not written into an input."""
        more = 0
        for made in op.outputs:
            if _memory(made) != made.ref():  # it uses other memory
                continue
            nbytes = self._nbytes(made)
            same = [memory for memory in last if held.get(memory) == nbytes]
            if same and not is_product(op.type) and not _functions(op):
                more -= held.pop(same[0])
            held[made.ref()] = nbytes
            more += nbytes
        return more

    def _in_order(self) -> Iterator[tf.Operation]:
        """Yield the operations in the order of TensorFlow's executor.

        Views run in the order in which their inputs become ready. Other operations run when no view
        is left; among these, the one that became ready last runs first.
        """
        waits, then = {}, defaultdict(list)
        for op in self.ops:
            causes = [_passed_on(tensor).op for tensor in op.inputs] + op.control_inputs
            first = dict.fromkeys(cause for cause in causes if cause in self.runs)
            waits[op] = len(first)
            for cause in first:
                then[cause].append(op)
        views = deque(op for op in self.ops if not waits[op])
        work = []
        while views or work:
            op = views.popleft() if views else work.pop()
            yield op
            for following in then[op]:
                waits[following] -= 1
                if not waits[following]:
                    (work if _is_work(following) else views).append(following)

    def _inside(self, op):
        """Return the most bytes that the functions called by the operation hold."""
        peaks = [0]
        for name in _functions(op):
            function = called_graph(self.graph, name)
            if function is not None:  # for example a function of the runtime
                given = list(op.inputs)[len(op.inputs) - len(function.graph.inputs) :]
                peaks.append(peak_bytes(function, [self.shapes.shape(tensor) for tensor in given]))
        return max(peaks)

    def _nbytes(self, tensor):
        return prod(self._shape(tensor)) * tensor.dtype.size if is_data(tensor.dtype) else 0

    def _shape(self, tensor):
        return tuple(1 if size is None else size for size in self.shapes.of(tensor) or ())


def _passed_on(tensor):
    """Return the tensor behind IdentityN operations.

    TensorFlow removes IdentityN from the graph, so a tensor does not wait there for the others.
    """
    while tensor.op.type == "IdentityN":
        tensor = tensor.op.inputs[tensor.value_index]
    return tensor


def _memory(tensor):
    return memory_of(tensor).ref()


def _is_work(op):
    return op.type not in VIEWS and op.type not in _GIVEN


def _functions(op):
    """Return the names of the functions that an operation calls.

    A tf.data pipeline calls its functions elsewhere, so the list is empty for it.
    """
    if "Dataset" in op.type:
        return []
    attributes = op.node_def.attr.values()
    listed = [function.name for of in attributes for function in of.list.func]
    return listed + [of.func.name for of in attributes if of.HasField("func")]

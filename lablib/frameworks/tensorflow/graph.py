"""The program of a traced graph: what it computes, issues and waits for, in one fixed order.

In a graph there is no "compute between" two messages: operations run when their inputs are ready.
The kit orders them as follows. Before a message is issued come all operations that this message
needs and no earlier message needed (in the order of tracing). Before those, the graph waits for the
messages that they need. After the last message come the operations that need no message, then the
wait for all messages, then the rest.

A function that is called from the graph and contains messages counts as one operation: everything
after it waits for all of its messages.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import tensorflow as tf

from lablib.frameworks.tensorflow.compat import called_graph, set_attribute
from lablib.frameworks.tensorflow.costs import is_free, op_cost

# Attributes of operations: the number under which a message was traced, the kit's own clocks, and
# the number under which a loop reports how often its body ran.
MESSAGE = "_lablib_message"
CLOCK = "_lablib_clock"
LOOP = "_lablib_loop"
_CLOCKS = ("Timestamp", "QueueEnqueueV2")
_OF_A_GRADIENT = re.compile("(.*/)?(gradient_tape|gradients)/")
_PHASES = ("forward", "backward", "other", None)
_BACKWARD = 1  # the bit in `_Graph.needs` for any operation of a gradient
_MOST_NAMED = 4
_ANY_RANK = (None,) * 5  # replaces a shape of unknown rank: no product needs more axes


def set_mark(op: tf.Operation, name: str, number: int) -> None:
    """Store a number with an operation. It is kept when TensorFlow copies the graph."""
    set_attribute(op, name, tf.compat.v1.AttrValue(i=number))


@dataclass(frozen=True)
class Compute:
    """Computation. phase None: the caller's phase. costs: (flops, nbytes, precision, count)."""

    phase: str | None
    costs: tuple[tuple[int, int, str, int], ...]


@dataclass(frozen=True)
class Issue:
    message: int


@dataclass(frozen=True)
class Wait:
    message: int


@dataclass(frozen=True)
class Repeat:
    """The body of a loop or branch; `report` identifies the report of how often it ran."""

    report: tuple[str, int]
    body: tuple


def program_of(function, shapes: list[tf.TensorShape]) -> list:
    """Return what a call of the graph does: Compute, Issue, Wait and Repeat, in order.

    function   TensorFlow's AtomicFunction
    shapes     shapes of the arguments in this call; they determine shapes unknown when it was
               traced

    Sizes that remain unknown count as 1, and the computation of a tf.data pipeline counts as
    nothing; a warning names both. If a condition chooses among branches, the most costly branch
    counts.
    """
    graph = _Graph(function, shapes)
    told = list(graph.program())
    if graph.unknown:
        kinds = ", ".join(sorted(graph.unknown)[:_MOST_NAMED])
        warnings.warn(
            f"The modelled cost of {kinds} is too low, because shapes are not known or a tf.data "
            "pipeline computes. A tf.function without these is counted exactly.",
            stacklevel=2,
        )
    return told


def unrolled(program: Iterable, ran: Mapping[tuple[str, int], int], times: int = 1) -> Iterator:
    """Yield the Computes, Issues and Waits of one call.

    ran     how often each message was sent and each loop's body ran in the whole call, {("message",
            number) or ("loop", number): times}
    times   how often this part of the program is reached in the call
    """
    met = Counter(item.report for item in program if isinstance(item, Repeat))
    for item in program:
        if not isinstance(item, Repeat):
            yield item
            continue
        often = ran.get(item.report, 0) // (times * met[item.report])
        if not often:
            continue
        if _talks(item):
            for _ in range(often):
                yield from unrolled(item.body, ran, times * often)
        else:
            for part in unrolled(item.body, ran, times * often):
                yield _several(part, often)


def _several(compute, times):
    costs = tuple((*cost, times * count) for *cost, count in compute.costs)
    return Compute(compute.phase, costs)


class _Graph:
    def __init__(self, function, shapes):
        self.graph = function.graph
        self.is_backward = b"__backward_" in function.name
        self.shapes = Shapes(self.graph, shapes)
        self.unknown: set[str] = set()
        self.called: dict[tf.Operation, list] = {}
        self.order = causes_first([t.op for t in self.graph.outputs] + self.graph.control_outputs)
        runs = set(self.order)
        created = [op for op in self.graph.get_operations() if op in runs]
        self.messages = [op for op in created if self._holds_messages(op)]
        self.bits = {op: 2 << number for number, op in enumerate(self.messages)}
        self.needs = self._what_each_needs()
        gradients = [op for op in created if _is_gradient(op)]
        self.has_gradients = bool(gradients)
        self.first = set(created[: created.index(gradients[0])]) if gradients else set()
        self.leads_on = set(causes_first([*gradients, *self.messages]))

    def program(self) -> Iterator:
        waited, done = set(), set()
        for number, op in enumerate(self.messages):
            own = [o for o in causes_first(causes(op), self.bits) if o not in done]
            done.update(own)
            yield from self._waits(self.needs[op], waited)
            yield from self._computes(own)
            if op in self.called:
                waited.add(number)
                yield from self._parts(op)
            else:
                yield Issue(_mark(op, MESSAGE))
        rest = [op for op in self.order if op not in done and op not in self.bits]
        yield from self._computes(op for op in rest if self.needs[op] <= _BACKWARD)
        yield from self._waits(~0, waited)
        yield from self._computes(op for op in rest if self.needs[op] > _BACKWARD)

    def _what_each_needs(self):
        """Return for each operation the bits of the messages and gradients that it depends on."""
        needs: dict[tf.Operation, int] = {}
        for op in self.order:
            needs[op] = _BACKWARD if _is_gradient(op) else 0
            for cause in causes(op):
                needs[op] |= needs.get(cause, 0) & ~_BACKWARD | self.bits.get(cause, 0)
            for tensor in op.inputs:  # the next step needs this gradient without being part of it
                needs[op] |= needs.get(tensor.op, 0) & _BACKWARD
        return needs

    def _waits(self, needed, waited):
        for number, op in enumerate(self.messages):
            if needed & self.bits[op] and number not in waited:
                waited.add(number)
                yield Wait(_mark(op, MESSAGE))

    def _computes(self, ops: Iterable[tf.Operation]) -> Iterator:
        costs, repeats = defaultdict(Counter), []
        for op in ops:
            for part in self._parts(op):
                if isinstance(part, Repeat):
                    repeats.append(part)
                else:
                    for *cost, count in part.costs:
                        costs[part.phase][tuple(cost)] += count
        for phase in _PHASES:
            if costs[phase]:  # sort, because the order of operations differs between processes
                rows = sorted(costs[phase].items())
                yield Compute(phase, tuple((*cost, count) for cost, count in rows))
        yield from repeats

    def _parts(self, op) -> Iterator:
        """Yield what one operation does; for a call, what the called function does."""
        phase = self._phase(op)
        if "Dataset" in op.type:
            self.unknown.add(op.type)
        if op in self.called:
            yield from _in_phase(self.called[op], phase)
        elif not is_free(op.type):
            seen = [
                [(self._shape(t, op), t.dtype) for t in side] for side in (op.inputs, op.outputs)
            ]
            cost = op_cost(op.type, op.get_attr, *seen)
            if any(cost[:2]):
                yield Compute(phase, ((*cost, 1),))

    def _phase(self, op):
        if self.is_backward or _is_gradient(op):
            return "backward"
        if not self.has_gradients:
            return None
        comes_from_one = self.needs[op] & _BACKWARD and op not in self.first
        if op in self.leads_on:
            return "backward" if comes_from_one else "forward"
        return "forward" if op in self.first and not self.needs[op] else "other"

    def _shape(self, tensor, op):
        shape = self.shapes.of(tensor)
        if shape is None or None in shape:
            self.unknown.add(op.type)
        shape = _ANY_RANK if shape is None else shape
        return tuple(size or 0 if size is not None else 1 for size in shape)

    def _holds_messages(self, op):
        """Return True if it is a message, or calls a function that contains messages."""
        if op.type.startswith("Collective"):
            return _mark(op, MESSAGE) is not None
        if "While" in op.type:
            self.called[op] = self._loop(op)
        elif op.type in ("If", "StatelessIf", "Case", "StatelessCase"):
            self.called[op] = self._branches(op)
        elif op.type.endswith("PartitionedCall"):
            self.called[op] = self._inside(op.get_attr("f"), op.inputs)
        return any(_talks(part) for part in self.called.get(op, ()))

    def _loop(self, op):
        body = [p for name in ("cond", "body") for p in self._inside(op.get_attr(name), op.inputs)]
        spoken = next(filter(_talks, body), None)
        if spoken is not None:
            return [Repeat(_report(spoken), tuple(body))]
        loop = _mark(op, LOOP)
        return body if loop is None else [Repeat(("loop", loop), tuple(body))]

    def _branches(self, op):
        """Return the most costly branch; if branches contain messages, those that have run."""
        names = op.get_attr("branches") if "Case" in op.type else None
        names = names or [op.get_attr("then_branch"), op.get_attr("else_branch")]
        branches = [self._inside(name, list(op.inputs)[1:]) for name in names]
        if not any(map(_talks, sum(branches, []))):
            return max(branches, key=_dearness)
        spoken = [(next(filter(_talks, branch), None), branch) for branch in branches]
        return [Repeat(_report(part), tuple(branch)) for part, branch in spoken if part]

    def _inside(self, name, inputs):
        function = called_graph(self.graph, name.name)
        if function is None:  # for example a function of the runtime
            return []
        shapes = [self.shapes.shape(tensor) for tensor in inputs]
        key = function.name, *map(str, shapes)
        if key not in _known_programs:
            inner = _Graph(function, shapes)
            _known_programs[key] = list(inner.program()), inner.unknown
        program, unknown = _known_programs[key]
        self.unknown |= unknown
        return program


_known_programs: dict[tuple, tuple[list, set[str]]] = {}


class Shapes:
    """Shapes of a graph's tensors when it is called with arguments of the given shapes.

    TensorFlow itself infers shapes that were unknown when the graph was traced, in a copy of the
    graph whose arguments are known.
    """

    def __init__(self, graph, given):
        self.copy = None
        known = {
            tensor.op.name: shape
            for tensor, shape in zip(graph.inputs, given)
            if not tensor.shape.is_fully_defined() and shape.is_fully_defined()
        }
        if known:
            self.copy = _with_arguments(graph, known)

    def shape(self, tensor) -> tf.TensorShape:
        if self.copy is None or tensor.shape.is_fully_defined():
            return tensor.shape
        return self.copy.get_tensor_by_name(tensor.name).shape

    def of(self, tensor) -> tuple | None:
        shape = self.shape(tensor)
        return None if shape.rank is None else tuple(shape.as_list())


def _with_arguments(graph, known):
    described = graph.as_graph_def()
    for node in described.node:
        shape = known.get(node.name)
        if node.op == "ReadVariableOp":  # a copy has no variables to ask
            shape = graph.get_operation_by_name(node.name).outputs[0].shape
            node.op = "Placeholder"
            del node.input[:]
        if shape is not None:
            node.attr["shape"].shape.CopyFrom(shape.as_proto())
    copy = tf.Graph()
    with copy.as_default():
        tf.import_graph_def(described, name="")
    return copy


def causes(op):
    """Return what must run before. TensorFlow also orders messages, but this is not a cause."""
    control = [] if op.type.startswith("Collective") else op.control_inputs
    return _of_the_learner([*(tensor.op for tensor in op.inputs), *control])


def _of_the_learner(operations):
    return [op for op in operations if not (op.type in _CLOCKS and _mark(op, CLOCK))]


def causes_first(roots, stop=()):
    """Return the roots and all their causes, each after its own causes; omit those in `stop`."""
    seen, order = set(stop), []
    stack = [(root, False) for root in _of_the_learner(roots)]
    while stack:
        op, entered = stack.pop()
        if entered:
            order.append(op)
        elif op not in seen:
            seen.add(op)
            stack.append((op, True))
            stack += [(cause, False) for cause in causes(op) if cause not in seen]
    return order


def _mark(op, name):
    try:
        return op.get_attr(name)
    except ValueError:
        return None


def _is_gradient(op):
    return bool(_OF_A_GRADIENT.match(op.name))


def _talks(part):
    if isinstance(part, Repeat):
        return any(map(_talks, part.body))
    return isinstance(part, Issue)


def _report(part):
    """Return the report of how often a part with messages ran: as often as its first message."""
    return part.report if isinstance(part, Repeat) else ("message", part.message)


def _in_phase(parts, phase):
    """Yield what a called function does; parts without a phase get the caller's phase."""
    for part in parts:
        if isinstance(part, Repeat):
            yield replace(part, body=tuple(_in_phase(part.body, phase)))
        elif isinstance(part, Compute):
            yield replace(part, phase="backward" if phase == "backward" else part.phase or phase)
        else:
            yield part


def _dearness(parts):
    """Return the cost of a branch for comparison with others: FLOPs, then bytes."""
    totals = [0, 0]
    for part in parts:
        if isinstance(part, Repeat):
            sums = _dearness(part.body)
        else:
            sums = [sum(cost[place] * cost[-1] for cost in part.costs) for place in (0, 1)]
        totals = [total + more for total, more in zip(totals, sums)]
    return totals

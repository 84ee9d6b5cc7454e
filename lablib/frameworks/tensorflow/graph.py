"""The program of a traced graph: what it computes, issues and waits for, in one fixed order.

In a graph there is no "compute between" two messages: operations run when their inputs are there.
The order told is this. What a message needs and no earlier one needed (in the order of tracing) is
computed before it is issued; before that, the messages that this needs are waited for. After the
last message comes what needs none, then the wait for all, then the rest.

A function that is called from the graph and holds messages counts as one operation: what comes
after it waits for all of them.
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

# Attributes of operations: the number under which a message was traced, our own clocks, and the
# number under which a loop reports how often its body ran.
MESSAGE, CLOCK, LOOP = "_lablib_message", "_lablib_clock", "_lablib_loop"
_CLOCKS = ("Timestamp", "QueueEnqueueV2")
_OF_A_GRADIENT = re.compile("(.*/)?(gradient_tape|gradients)/")
_PHASES = ("forward", "backward", "other", None)
_BACKWARD = 1  # the bit of `_Graph.needs` that stands for any operation of a gradient
_MOST_NAMED = 4
_ANY_RANK = (None,) * 5  # stands for a shape of unknown rank: no product needs more axes


def set_mark(op: tf.Operation, name: str, number: int) -> None:
    """Keep a number with an operation. It stays when TensorFlow copies the graph."""
    set_attribute(op, name, tf.compat.v1.AttrValue(i=number))


@dataclass(frozen=True)
class Compute:
    """phase None: that of whoever calls the graph. costs: (flops, nbytes, precision, count)."""

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
    """The body of a loop or a branch, as often as it is known to have run: that is `report`."""

    report: tuple[str, int]
    body: tuple


def program_of(function, shapes: list[tf.TensorShape]) -> list:
    """What a call of the graph does: Compute, Issue, Wait and Repeat, in order.

    function   TensorFlow's AtomicFunction
    shapes     of its arguments in this call; they settle what was unknown when it was traced

    Sizes that stay unknown count as 1, what a tf.data pipeline computes as nothing, and of the
    branches that a condition chooses from the dearest counts. A warning names the first two.
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
    """The Computes, Issues and Waits of one call.

    ran     how often each message was passed, ("message", number), and each loop's body ran,
            ("loop", number), in the whole call
    times   how often this part of the program is met in the call
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
        self.graph, self.is_backward = function.graph, b"__backward_" in function.name
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
        """Of each operation: the bits of what it comes from, messages and gradients."""
        needs: dict[tf.Operation, int] = {}
        for op in self.order:
            needs[op] = _BACKWARD if _is_gradient(op) else 0
            for cause in causes(op):
                needs[op] |= needs.get(cause, 0) & ~_BACKWARD | self.bits.get(cause, 0)
            for tensor in op.inputs:  # the next step waits for this gradient, but is none
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
            if costs[phase]:  # sorted: the order of operations is not the same in every process
                rows = sorted(costs[phase].items())
                yield Compute(phase, tuple((*cost, count) for cost, count in rows))
        yield from repeats

    def _parts(self, op) -> Iterator:
        """What one operation does; of a call what the called function does."""
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
        """Whether it is a message, or calls a function that holds some."""
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
        """The dearest branch; one that holds messages, if it has run."""
        names = op.get_attr("branches") if "Case" in op.type else None
        names = names or [op.get_attr("then_branch"), op.get_attr("else_branch")]
        branches = [self._inside(name, list(op.inputs)[1:]) for name in names]
        if not any(map(_talks, sum(branches, []))):
            return max(branches, key=_dearness)
        spoken = [(next(filter(_talks, branch), None), branch) for branch in branches]
        return [Repeat(_report(part), tuple(branch)) for part, branch in spoken if part]

    def _inside(self, name, inputs):
        function = called_graph(self.graph, name.name)
        if function is None:  # such as a function of the runtime's own
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
    """Shapes of a graph's tensors when it is called with arguments of the shapes given.

    What was unknown when it was traced is inferred again, by TensorFlow itself, in a copy whose
    arguments are known.
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
    """Return what must have run before. TensorFlow also orders messages, which is not a cause."""
    control = [] if op.type.startswith("Collective") else op.control_inputs
    return _of_the_learner([*(tensor.op for tensor in op.inputs), *control])


def _of_the_learner(operations):
    return [op for op in operations if not (op.type in _CLOCKS and _mark(op, CLOCK))]


def causes_first(roots, stop=()):
    """The roots and all they come from, each after its causes; without those in `stop`."""
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
    """How often a part with messages was met: as often as its first message."""
    return part.report if isinstance(part, Repeat) else ("message", part.message)


def _in_phase(parts, phase):
    """What a called function does, in the phase of its caller where it has none of its own."""
    for part in parts:
        if isinstance(part, Repeat):
            yield replace(part, body=tuple(_in_phase(part.body, phase)))
        elif isinstance(part, Compute):
            yield replace(part, phase="backward" if phase == "backward" else part.phase or phase)
        else:
            yield part


def _dearness(parts):
    """What a branch costs, to be compared with another's: FLOPs, then bytes."""
    totals = [0, 0]
    for part in parts:
        if isinstance(part, Repeat):
            sums = _dearness(part.body)
        else:
            sums = [sum(cost[place] * cost[-1] for cost in part.costs) for place in (0, 1)]
        totals = [total + more for total, more in zip(totals, sums)]
    return totals

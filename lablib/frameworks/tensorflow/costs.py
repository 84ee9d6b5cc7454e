"""Count what a TensorFlow rank computes: FLOPs and bytes of an operation, in a graph or eager.

The rules are those of `frameworks/torch/costs.py`, so the same task costs nearly the same in both
frameworks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from math import prod

import tensorflow as tf

from lablib.frameworks.tensorflow.compat import add_op_callback, definition_of_op, shape_tuple

Cost = tuple[int, int, str]
Seen = Sequence[tuple[tuple[int, ...], tf.DType]]

_PRECISIONS = {
    "float64": "fp64",
    "bfloat16": "bf16",
    "float16": "fp16",
    "float8_e4m3fn": "fp8",
    "float8_e5m2": "fp8",
}
# They return a tensor or its shape without work; reading and assigning a variable share memory,
# too.
_FREE = set(
    """
    Const Placeholder PlaceholderWithDefault Identity IdentityN StopGradient PreventGradient NoOp
    Reshape Squeeze ExpandDims EnsureShape Bitcast Shape ShapeN Size Rank BroadcastGradientArgs
    ReadVariableOp AssignVariableOp VarHandleOp VarIsInitializedOp DestroyResourceOp Empty Assert
    Timestamp QueueSizeV2 QueueEnqueueV2 QueueDequeueManyV2 TensorListReserve EmptyTensorList
""".split()
)
_MESSAGES = ("Collective", "_Send", "_Recv", "_HostSend", "_HostRecv")
# These change a variable in place, so they have a handle where other operations have a tensor.
_IN_PLACE = re.compile("Assign(Add|Sub)VariableOp|(Resource|ResourceSparse)Apply")
_NOTHING: Cost = (0, 0, "fp32")


def is_free(kind: str) -> bool:
    """Return True if operations of this kind move no data: views, handles and messages."""
    return kind in _FREE or kind.startswith(_MESSAGES)


def is_data(dtype: tf.DType) -> bool:
    """Return True if tensors of this type contain numbers, not a handle or text."""
    return dtype not in (tf.resource, tf.variant, tf.string)


def is_product(kind: str) -> bool:
    """Return True if operations of this kind multiply matrices or convolve."""
    return kind in _FLOPS


def op_cost(kind: str, attribute: Callable, inputs: Seen, outputs: Seen) -> Cost:
    """Return (FLOPs, bytes, precision) of one operation; (0, 0, "fp32") if it moves no data.

    kind        TensorFlow's name of the operation, such as "MatMul"
    attribute   a function from an attribute's name to its value
    inputs, outputs   (shape, dtype) of its tensors

    A matrix product or a convolution costs two FLOPs for each product of two elements. Every other
    operation costs one FLOP for each element of its largest tensor. An operation moves the bytes of
    each of its tensors once, and those of a variable that it changes twice. Views, handles and
    messages cost nothing.

    >>> square = [((8, 8), tf.float32)]
    >>> op_cost("MatMul", {"transpose_a": False}.get, 2 * square, square)
    (1024, 768, 'fp32')
    >>> op_cost("Reshape", {}.get, square, square)
    (0, 0, 'fp32')
    """
    if is_free(kind):
        return _NOTHING
    tensors = [(shape, dtype) for shape, dtype in (*inputs, *outputs) if is_data(dtype)]
    largest = max((prod(shape) for shape, _ in tensors), default=0)
    formula = _FLOPS.get(kind)
    flops = formula(attribute, inputs, outputs) if formula else largest
    nbytes = sum(prod(shape) * dtype.size for shape, dtype in tensors)
    if _IN_PLACE.match(kind):
        nbytes += 2 * max(prod(shape) * dtype.size for shape, dtype in tensors) * _handles(inputs)
    return int(flops), int(nbytes), _precision({dtype for _, dtype in tensors if dtype.is_floating})


def _matrix_product(attribute, inputs, outputs):
    transposed = attribute("transpose_a")
    return 2 * prod(outputs[0][0]) * inputs[0][0][0 if transposed else 1]


def _batch_product(attribute, inputs, outputs):
    return 2 * prod(outputs[0][0]) * inputs[0][0][-2 if attribute("adj_x") else -1]


def _sum_of_products(attribute, inputs, outputs):
    """Count every combination of an einsum's indices once; an ellipsis is the remaining axes."""
    equation = attribute("equation")
    equation = equation.decode() if isinstance(equation, bytes) else equation
    sizes, rest = {}, ()
    for names, (shape, _) in zip(equation.split("->")[0].split(","), inputs):
        before, dots, after = names.partition("...")
        sizes |= zip(before, shape)
        sizes |= zip(reversed(after), reversed(shape))
        if dots:
            rest = max(rest, shape[len(before) : len(shape) - len(after)], key=prod)
    return (2 if len(inputs) > 1 else 1) * prod(sizes.values()) * prod(rest)


def _convolution(places, filters):
    """Return two FLOPs for each place of an image (or gradient) and each weight applied there."""

    def flops(attribute, inputs, outputs):
        every = (*inputs, *outputs)
        *reached, _ = every[filters][0]
        return 2 * prod(every[places][0]) * prod(reached)

    return flops


def _depthwise(places, filters):
    def flops(attribute, inputs, outputs):
        every = (*inputs, *outputs)
        return 2 * prod(every[places][0]) * prod(every[filters][0][:2])

    return flops


# The positions of the image (or its gradient) and of the filters: inputs first, then outputs.
_FLOPS = {
    "MatMul": _matrix_product,
    **dict.fromkeys(["BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"], _batch_product),
    "Einsum": _sum_of_products,
    **dict.fromkeys(["Conv2D", "Conv3D"], _convolution(2, 1)),
    **dict.fromkeys(["Conv2DBackpropInput", "Conv3DBackpropInputV2"], _convolution(2, 1)),
    **dict.fromkeys(["Conv2DBackpropFilter", "Conv3DBackpropFilterV2"], _convolution(2, 3)),
    "DepthwiseConv2dNative": _depthwise(2, 1),
    "DepthwiseConv2dNativeBackpropInput": _depthwise(2, 1),
    "DepthwiseConv2dNativeBackpropFilter": _depthwise(2, 3),
}


def _handles(inputs):
    return sum(dtype == tf.resource for _, dtype in inputs)


def _precision(kinds):
    """Return the widest precision, so that the cost of mixed operations is not too low."""
    if not kinds:
        return "fp32"
    return _PRECISIONS.get(max(kinds, key=lambda kind: kind.size).name, "fp32")


class CountedCosts:
    """Count what this thread computes outside of graphs, from now on; `take` returns it.

    The cost of an operation depends only on its attributes and shapes, so it is cached.
    """

    def __init__(self):
        self._known: dict[tuple, Cost] = {}
        self._counts: Counter[Cost] = Counter()
        add_op_callback(self._seen)

    def take(self) -> tuple[tuple, float]:
        """Return ((flops, nbytes, precision, count), ...) since the last call, and 0 seconds."""
        costs = tuple((*cost, count) for cost, count in self._counts.items())
        self._counts = Counter()
        return costs, 0.0

    def _seen(self, kind, inputs, attributes, outputs, op_name=None, graph=None):
        if graph is not None or kind in _FREE:
            return
        # Some attributes are lists, so use their text.
        key = kind, str(attributes), *map(_looks, inputs), None, *map(_looks, outputs)
        cost = self._known.get(key)
        if cost is None:
            cost = self._known[key] = _eager_cost(kind, attributes, inputs, outputs)
        if cost is not _NOTHING:
            self._counts[cost] += 1


def _looks(tensor):
    return shape_tuple(tensor), tensor.dtype


def _eager_cost(kind, attributes, inputs, outputs):
    name = kind.decode() if isinstance(kind, bytes) else kind
    if definition_of_op(name) is None:  # this is a call of a graph, which is counted elsewhere
        return _NOTHING
    attribute = dict(zip(attributes[::2], attributes[1::2])).get
    return op_cost(name, attribute, [*map(_looks, inputs)], [*map(_looks, outputs)])

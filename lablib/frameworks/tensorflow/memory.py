"""Count the bytes of tensors that a TensorFlow rank holds; inside of graphs they are calculated."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from math import prod

import tensorflow as tf

from lablib.frameworks.tensorflow.compat import add_op_callback, shape_tuple
from lablib.frameworks.tensorflow.costs import is_data
from lablib.frameworks.tensorflow.peak_memory import VIEWS, may_change, passed_through


class LiveBytes:
    """Count the variables and tensors that this thread creates or receives, as long as they exist.

    The memory that a graph uses while running cannot be observed from here, so the caller must
    supply it.

    peak_bytes   the most bytes at once since `restart`
    """

    def __init__(self):
        self.now_bytes = self.peak_bytes = 0
        self._memory: dict[int, _Memory] = {}  # by the id of a tensor in this memory
        self._alive: dict[int, weakref.ref] = {}
        self._changed: dict[str, list[int]] = {}  # arguments, by the name of a graph
        # outputs, by the name of a graph; see `passed_through`
        self._passed: dict[str, list[tuple[str, int]]] = {}
        add_op_callback(self._seen)

    def restart(self) -> None:
        """Reset the peak to the memory that is in use now."""
        self.peak_bytes = self.now_bytes

    def calls(self, function, arguments, held_bytes: int) -> None:
        """Record that a graph is about to be called and will hold `held_bytes` bytes at once."""
        name = function.name.decode()
        if name not in self._passed:
            inputs = enumerate(function.graph.inputs)
            self._changed[name] = [number for number, given in inputs if may_change(given)]
            self._passed[name] = passed_through(function)
        for tensor in arguments:
            self._see(tensor)
        for number in self._changed[name]:
            self._write(arguments[number])
        self.peak_bytes = max(self.peak_bytes, self.now_bytes + held_bytes)

    def _seen(self, kind, inputs, attributes, outputs, op_name=None, graph=None):
        if graph is not None:
            return
        kind = kind.decode() if isinstance(kind, bytes) else kind
        for tensor in inputs:
            self._see(tensor)
        if kind in VIEWS:
            for given, made in zip(inputs, outputs):
                self._hold(made, self._memory.get(id(given)))
        elif kind == "VarHandleOp":
            self._hold(outputs[0], _of_a_variable(attributes))
        elif kind in self._passed:
            self._returned(self._passed[kind], {"input": inputs, "output": outputs})
        else:
            assigned_bytes = _nbytes(inputs[1]) if kind == "AssignVariableOp" else None
            for tensor in inputs:
                self._write(tensor, assigned_bytes)
            for tensor in outputs:
                self._see(tensor)

    def _returned(self, passed, tensors):
        """Record a graph's results, some of which share the memory of its arguments."""
        for tensor, (side, number) in zip(tensors["output"], passed):
            self._hold(tensor, self._memory.get(id(tensors[side][number])))
            self._see(tensor)

    def _see(self, tensor):
        if id(tensor) not in self._memory and is_data(tensor.dtype):
            self._hold(tensor, _Memory(_nbytes(tensor)))

    def _hold(self, tensor, memory):
        """From now on the tensor, or a variable's handle, keeps this memory alive."""
        key = id(tensor)
        if memory is None or key in self._memory:
            return

        def gone(_):
            self._let_go(self._memory.pop(key))
            del self._alive[key]

        self._alive[key] = weakref.ref(tensor, gone)
        self._take(key, memory)

    def _write(self, handle, nbytes=None):
        """Move a variable to other memory: tensors that were read from it keep their values."""
        memory = self._memory.get(id(handle)) if handle.dtype == tf.resource else None
        if memory and (memory.holders > 1 or nbytes not in (None, memory.nbytes)):
            self._let_go(memory)
            self._take(id(handle), _Memory(memory.nbytes if nbytes is None else nbytes))

    def _take(self, key, memory):
        self._memory[key] = memory
        memory.holders += 1
        if memory.holders == 1:
            self.now_bytes += memory.nbytes
            self.peak_bytes = max(self.peak_bytes, self.now_bytes)

    def _let_go(self, memory):
        memory.holders -= 1
        if not memory.holders:
            self.now_bytes -= memory.nbytes


@dataclass
class _Memory:
    nbytes: int
    holders: int = 0  # the number of tensors, and the handle of a variable


def _nbytes(tensor):
    return prod(shape_tuple(tensor)) * tensor.dtype.size if is_data(tensor.dtype) else 0


def _of_a_variable(attributes):
    of = dict(zip(attributes[::2], attributes[1::2]))
    dtype = tf.as_dtype(of["dtype"])
    elements = tf.TensorShape(of["shape"]).num_elements()
    known = is_data(dtype) and elements  # a shape may be unknown until the variable is assigned
    return _Memory(elements * dtype.size if known else 0)

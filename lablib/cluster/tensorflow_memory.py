"""How many bytes of tensors a TensorFlow rank holds: counted, and worked out inside of graphs."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from math import prod

from tensorflow.python.framework import op_callbacks

from lablib.cluster.tensorflow_costs import is_data
from lablib.cluster.tensorflow_peak import VIEWS


class LiveBytes:
    """Counts the variables and tensors that this thread makes or is given, while they live.

    What a graph holds while it runs is not seen: whoever calls it says it.

    peak_bytes   the most at once since `restart`
    """

    def __init__(self):
        self.now_bytes = self.peak_bytes = 0
        self._memory: dict[int, _Memory] = {}  # by the id of a tensor that lies there
        self._alive: dict[int, weakref.ref] = {}
        op_callbacks.add_op_callback(self._seen)

    def restart(self) -> None:
        """Forget the peak, not what is alive."""
        self.peak_bytes = self.now_bytes

    def calls(self, arguments, held_bytes: int) -> None:
        """A graph is about to be called, and will hold so many bytes at once."""
        for tensor in arguments:
            self._see(tensor)
            self._write(tensor)
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
        else:
            for tensor in inputs:
                self._write(tensor)
            for tensor in outputs:
                self._see(tensor)

    def _see(self, tensor):
        if id(tensor) not in self._memory and is_data(tensor.dtype):
            self._hold(tensor, _Memory(prod(tensor._shape_tuple()) * tensor.dtype.size))

    def _hold(self, tensor, memory):
        """From now on the tensor, or a variable's handle, keeps that memory alive."""
        key = id(tensor)
        if memory is None or key in self._memory:
            return

        def gone(_):
            self._let_go(self._memory.pop(key))
            del self._alive[key]

        self._alive[key] = weakref.ref(tensor, gone)
        self._take(key, memory)

    def _write(self, handle):
        """What was read from a variable stays as it was: the variable moves to other memory."""
        memory = self._memory.get(id(handle))
        if memory and memory.is_variable and memory.holders > 1:
            self._let_go(memory)
            self._take(id(handle), _Memory(memory.nbytes, is_variable=True))

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
    is_variable: bool = False
    holders: int = 0  # tensors, and the handle of a variable


def _of_a_variable(attributes):
    of = dict(zip(attributes[::2], attributes[1::2]))
    elements = of["shape"].num_elements() or 0  # unknown until it is assigned
    return _Memory(elements * of["dtype"].size, is_variable=True)

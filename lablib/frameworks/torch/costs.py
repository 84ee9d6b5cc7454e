"""Count what a torch rank computes: FLOPs and bytes of each operation, forward and backward.

A dispatch mode sees every operation that reaches a device. The cost of an operation depends only on
its shapes, so it is calculated once and cached: steps repeat the same operations many times.
"""

from __future__ import annotations

import torch

from lablib.frameworks.torch.compat import (
    DispatchMode,
    FakeTensor,
    flop_registry,
    overload_packet,
    plain_call,
    schema,
    tree_leaves,
)
from lablib.frameworks.torch.memory import LiveBytes
from lablib.frameworks.torch.uncompiled import uncompiled
from lablib.record.bounds import LONGEST_UNCOSTED, MOST_UNCOSTED

_PRECISIONS = {
    torch.float64: "fp64",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.float8_e4m3fn: "fp8",
    torch.float8_e5m2: "fp8",
}
_SENDS = ("c10d", "_c10d_functional", "c10d_functional")
_FREE = (0, 0, "fp32")
# Operations of other libraries, such as those of torch.library.custom_op, have no known cost.
_KNOWN = ("aten", "prim", "prims", "fsdp", "_dtensor", "mkldnn", "profiler", *_SENDS)
_PLAIN = (torch.Tensor, torch.nn.Parameter)  # `parameter.data` is a Parameter, too


class CountedCosts(DispatchMode):
    """Count what this thread and its backward passes compute while the mode is entered.

    `take` returns the costs, and `memory` counts the bytes of the results.

    uncosted   the operations so far whose cost is unknown, which count as 0

    A matrix product, a convolution or an attention costs the FLOPs of torch's own registry. Every
    other operation costs one FLOP for each element of its largest tensor. An operation moves the
    bytes of each of its tensors once. Views, empty tensors and messages cost nothing.
    """

    def __init__(self):
        super().__init__()
        self.memory = LiveBytes()
        self.uncosted: list[str] = []
        self._without: set[int] = set()  # ids of operations that never cost anything
        self._known: dict[tuple, tuple] = {}
        self._counts: dict[tuple, int] = {}

    def take(self) -> tuple[tuple, float]:
        """Return ((flops, nbytes, precision, count), ...) since the last call, and 0 seconds."""
        costs = tuple((*cost, count) for cost, count in self._counts.items())
        self._counts = {}
        return costs, 0.0

    @uncompiled
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        # This runs at every operation of a rank, so each microsecond counts.
        kwargs = kwargs or {}
        if types and any(kind not in _PLAIN for kind in types):
            # A tensor of tensors, such as a DTensor: its parts come here later. Fake tensors
            # compute nothing.
            return func(*args, **kwargs) if FakeTensor in types else NotImplemented
        operation = id(func)  # torch keeps these objects, and hashes them in Python
        if operation in self._without:
            return plain_call(func)(*args, **kwargs)
        key = (operation, *map(_looks, args), *map(_looks, kwargs.values()))
        cost = self._known.get(key)
        if cost is None:
            return self._meet(key, func, args, kwargs)
        if cost is not _FREE:
            self._counts[cost] = self._counts.get(cost, 0) + 1
        answer = plain_call(func)(*args, **kwargs)
        self.memory.see(answer)
        return answer

    def _meet(self, key, func, args, kwargs):
        """Run an operation that is new, and cache its cost."""
        if overload_packet(func) not in flop_registry:
            with self:  # outside autograd, some operations arrive undivided
                answer = func.decompose(*args, **kwargs)
            if answer is not NotImplemented:
                return answer
        answer = func(*args, **kwargs)
        # profiler: an optimizer labels its steps this way
        if _is_view(func) or func.namespace == "profiler":
            self._without.add(key[0])
            return answer
        self.memory.see(args)
        self.memory.see(answer)
        if func.namespace not in _KNOWN and overload_packet(func) not in flop_registry:
            self._note_uncosted(func, args, kwargs)
            self._known[key] = _FREE
            return answer
        cost = self._known[key] = cost_of(func, args, kwargs, answer)
        self._count(cost)
        return answer

    def _note_uncosted(self, func, args, kwargs):
        shapes = ", ".join(str(list(tensor.shape)) for tensor in _tensors((args, kwargs)))
        text = f"{func}({shapes})"[:LONGEST_UNCOSTED]
        if text not in self.uncosted and len(self.uncosted) < MOST_UNCOSTED:
            self.uncosted.append(text)

    def _count(self, cost):
        if cost is not _FREE:
            self._counts[cost] = self._counts.get(cost, 0) + 1


def _looks(value):
    """Return the properties that the cost can depend on, but no numbers such as a learning rate."""
    kind = type(value)  # `isinstance` of a tensor takes a microsecond
    if kind is torch.Tensor or kind is torch.nn.Parameter or kind is FakeTensor:
        return value.shape, value.dtype, value.is_meta
    if kind is list or kind is tuple:
        return tuple(map(_looks, value))
    return None if kind is float else value


def cost_of(func, args, kwargs, answer) -> tuple[int, int, str]:
    """Return the FLOPs, bytes and precision of an operation with this answer."""
    if func.namespace in _SENDS or "empty" in schema(func).name:
        return _FREE
    inputs = _tensors((args, kwargs))
    outputs = _tensors(answer)
    if any(tensor.is_meta for tensor in inputs + outputs):
        return _FREE
    formula = flop_registry.get(overload_packet(func))
    if formula:
        flops = int(formula(*args, **kwargs, out_val=answer))
    else:
        flops = max((tensor.numel() for tensor in inputs + outputs), default=0)
    nbytes = sum(tensor.numel() * tensor.element_size() for tensor in inputs + outputs)
    kinds = {tensor.dtype for tensor in inputs + outputs if tensor.is_floating_point()}
    return (flops, nbytes, _precision(kinds)) if flops or nbytes else _FREE


def _is_view(func):
    """Return True if the operation returns a view of its input."""
    aliases = [value.alias_info for value in schema(func).returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _tensors(values):
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def _precision(kinds):
    """Return the widest precision, so that the cost of mixed operations is not too low."""
    if not kinds:
        return "fp32"
    return _PRECISIONS.get(max(kinds, key=lambda kind: kind.itemsize), "fp32")

"""Count what a rank of a dry run would compute. The costs follow from the shapes, as always."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from lablib.frameworks.torch import compat
from lablib.frameworks.torch.compat import FakeTensor
from lablib.frameworks.torch.costs import CountedCosts, cost_of
from lablib.frameworks.torch.dry_messages import FunctionalMessages
from lablib.frameworks.torch.uncompiled import uncompiled

_DEVICE = torch.ops.prim.device.default
_KINDS = (torch.Tensor, torch.nn.Parameter, FakeTensor)


class DryCosts(CountedCosts):
    """Count operations on tensors without values."""

    def __init__(self):
        super().__init__()
        self._messages = FunctionalMessages()
        self._planning = False

    @contextlib.contextmanager
    def planning(self) -> Iterator[None]:
        """Count nothing: torch only finds out the shapes of a DTensor, which no device computes."""
        before, self._planning = self._planning, True
        try:
            yield
        finally:
            self._planning = before

    @uncompiled
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is _DEVICE and type(args[0]) is FakeTensor:
            return args[0].fake_device  # the shortest way: torch asks twice for each operation
        if self._planning or func.namespace == "prim":
            return func(*args, **kwargs)
        if any(kind not in _KINDS for kind in types):
            return NotImplemented
        if func.namespace == "_c10d_functional":
            answer = self._messages.call(func, args, kwargs)
            self.memory.see(answer)
            return answer
        if func is compat.ITEM:
            return self._number(func, args[0])
        if FakeTensor not in types and _only_whole_numbers(args):
            with compat.values():  # torch reads its own numbers, such as DDP's flags
                return super().__torch_dispatch__(func, (), args, kwargs)
        return super().__torch_dispatch__(func, (), args, kwargs)

    def _number(self, func, tensor):
        """Return the tensor's only number. An unknown real number is not a number."""
        self._count(cost_of(func, (tensor,), {}, None))
        if type(tensor) is not FakeTensor:
            with compat.values():
                return func(tensor)
        unknown = tensor.constant is None and tensor.is_floating_point()
        return float("nan") if unknown else func(tensor)


def _only_whole_numbers(args):
    tensors = [leaf for leaf in compat.tree_leaves(args) if isinstance(leaf, torch.Tensor)]
    return bool(tensors) and not any(tensor.is_floating_point() for tensor in tensors)

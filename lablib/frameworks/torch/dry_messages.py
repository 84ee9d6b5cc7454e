"""The messages of a dry run: they are recorded, but tensors without values are not sent.

Tensors with values, such as pickled objects or the sizes of DDP's buckets, are sent as usual,
because torch reads them.
"""

from __future__ import annotations

from typing import Any

import torch

from lablib.errors import LabError
from lablib.frameworks.torch import compat
from lablib.frameworks.torch.compat import FakeTensor, memory_id

# The methods of process groups that carry out the functional collectives, which DTensor uses.
_METHODS = {
    "all_reduce": "allreduce",
    "broadcast": "broadcast",
    "all_gather_into_tensor": "_allgather_base",
    "reduce_scatter_tensor": "_reduce_scatter_base",
    "all_to_all_single": "alltoall_base",
}
_IN_PLACE = ("allreduce", "broadcast")


class DryGroup:
    """A process group around torch's own: it sends only tensors that have values."""

    def __init__(self, inner: torch.distributed.ProcessGroup):
        self._inner = inner

    def rank(self) -> int:
        return self._inner.rank()

    def size(self) -> int:
        return self._inner.size()

    def recv_anysource(self, tensors, tag):
        raise LabError(
            "A dry run cannot receive from any rank.",
            saw="a receive that names no source; nothing is sent, so no message arrives first",
            do="name the source: dist.recv(tensor, src=...)",
        )

    def __getattr__(self, method):
        send = getattr(self._inner, method)

        def call(*args, **options):
            tensors = [leaf for leaf in compat.tree_leaves(args) if isinstance(leaf, torch.Tensor)]
            if any(isinstance(tensor, FakeTensor) for tensor in tensors):
                return _Over(compat.tree_leaves(args[0]))
            with compat.disable_current_modes():
                return send(*args, **options)

        return call


class _Over:
    """A message that ended when it was issued; its results have shapes but no values."""

    def __init__(self, results):
        self._results, self._future = results, None

    def wait(self, *timeout):
        return True

    def is_completed(self):
        return True

    def is_success(self):
        return True

    def exception(self):
        return None

    def result(self):
        return self._results

    def synchronize(self):
        pass

    def get_future(self):
        if self._future is None:
            self._future = torch.futures.Future()
            self._future.set_result(self._results)
        return self._future


class FunctionalMessages:
    """Pass functional collectives on to the recorder; in a dry run they never reach a group."""

    def __init__(self):
        self._pending: dict[int, Any] = {}  # memory that a message fills -> the message

    def call(self, func: Any, args: tuple, kwargs: dict) -> torch.Tensor:
        """Carry out an operation of torch.ops._c10d_functional on tensors without values."""
        name = compat.schema(func).name.split("::")[1].rstrip("_")
        if name == "wait_tensor":
            work = self._pending.pop(memory_id(args[0].untyped_storage()), None)
            if work is not None:
                work.wait()
            return func(*args, **kwargs)
        if name == compat.WRAP_IN_FLIGHT:  # torch's own would wait for the message at once
            return compat.in_flight(args[0])
        if name not in _METHODS:
            raise LabError(
                f"{name} cannot be used in a dry run.",
                saw="a functional collective that the recorder does not know without its values",
                do="use the functions of torch.distributed, or omit dry=True",
            )
        answer = func(*args, **kwargs)
        work = _issue(_METHODS[name], compat.group_of(args[-1]), answer, args[0])
        self._pending[memory_id(answer.untyped_storage())] = work
        return answer


def _issue(method, group, answer, given):
    if method in _IN_PLACE:
        return getattr(group, method)([answer])
    return getattr(group, method)(answer, given)

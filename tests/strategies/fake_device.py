"""A device with its own memory, for strategies, on a computer without a GPU.

The CPU plays the device, and torch's meta device plays the host. A meta tensor has a shape but no
contents. torch refuses to use it together with a CPU tensor, to send it, and to read it, as it
refuses the same with a tensor of the host on a rank with a GPU. `put` restores the contents.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import fields, replace

import numpy as np

from lablib import strategies
from lablib.tasks import Task

MODEL, BATCH = "model", "batch"


class HostTask(Task):
    """A task whose models are on the host, like all memory without a device argument."""

    def torch_model(self, seed=0, blocks=None):
        import torch

        with torch.device("cpu"):
            model = super().torch_model(seed, blocks)
        host = copy.deepcopy(model).to("meta")
        host.__dict__["contents"] = model
        return host


def train(me, name, job, forgets=()):
    """Train with the strategy on the fake device.

    forgets   MODEL, BATCH or both: what `put` leaves on the host, as if the strategy did not call
              it
    """
    task = HostTask(**{field.name: getattr(job.task, field.name) for field in fields(Task)})
    with host_on_meta() as host_tensor:
        me.put = _put(host_tensor, forgets)
        return strategies.get(name, "torch").train(me, replace(job, task=task))


def _put(host_tensor, forgets):
    import torch

    def put(value):
        if isinstance(value, (list, tuple)):
            return [put(part) for part in value]
        if isinstance(value, np.ndarray):
            value = host_tensor(value)
        kind = MODEL if isinstance(value, torch.nn.Module) else BATCH
        return value if kind in forgets else value.contents

    return put


@contextmanager
def host_on_meta():
    """Put memory without a device argument on meta; let NumPy read only results of `cpu()`."""
    import torch

    from_numpy, to_cpu, to_numpy = torch.from_numpy, torch.Tensor.cpu, torch.Tensor.numpy

    def host_tensor(array):
        host = torch.empty(array.shape, dtype=from_numpy(array).dtype, device="meta")
        host.contents = from_numpy(array)
        return host

    def cpu(tensor):
        back = to_cpu(tensor).view_as(tensor)
        back.is_back = True
        return back

    def numpy(tensor, **options):
        if not getattr(tensor, "is_back", False):
            raise TypeError("can't convert a tensor on the device to NumPy. Use Tensor.cpu() first")
        return to_numpy(tensor, **options)

    torch.from_numpy, torch.Tensor.cpu, torch.Tensor.numpy = host_tensor, cpu, numpy
    torch.set_default_device("meta")
    try:
        yield host_tensor
    finally:
        torch.set_default_device(None)
        torch.from_numpy, torch.Tensor.cpu, torch.Tensor.numpy = from_numpy, to_cpu, to_numpy

"""The operations that `lab.Hardware.measure` times on a torch rank."""

from __future__ import annotations

import torch
import torch.distributed as dist


class TorchWork:
    """Each method returns a function to call."""

    def product(self, width):
        a = torch.ones(width, width)
        return lambda: a @ a

    def copy(self, nbytes):
        return torch.ones(nbytes // 4).clone

    def all_reduce(self, floats):
        x = torch.ones(floats)
        return lambda: dist.all_reduce(x)

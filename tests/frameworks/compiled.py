"""Programs that use torch.compile, and their uncompiled twins."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional
from torch.nn.parallel import DistributedDataParallel


def _model():
    torch.manual_seed(0)
    layers = torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2)
    return torch.nn.Sequential(*layers)


def _losses(me, model):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    losses = []
    for _ in range(3):
        loss = model(torch.ones(4, 8) * (me.rank + 1)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(round(loss.item(), 6))
    return losses


def trains_ddp(me, wrap=lambda model, **_: model):
    """Train with each combination of DDP and the compiler."""
    outside = wrap(DistributedDataParallel(_model()), backend="aot_eager")
    inside = DistributedDataParallel(wrap(_model(), backend="eager", fullgraph=True))
    return _losses(me, outside), _losses(me, inside)


def sums(me, wrap=lambda function, **_: function):
    """Call functional collectives, and those that write into their tensors."""

    def pure(x):
        everybody = functional.all_reduce(x * 2, "sum", dist.group.WORLD)
        gathered = functional.all_gather_tensor(everybody, 0, dist.group.WORLD)
        return functional.reduce_scatter_tensor(gathered, "sum", 0, dist.group.WORLD) + 1

    def in_place(x):
        y = x * 2
        dist.all_reduce(y)
        return y + 1

    def with_a_handle(x):
        y = x * 2
        work = dist.all_reduce(y, async_op=True)
        z = x + 1
        work.wait()
        return y + z

    x = torch.ones(4) * (me.rank + 1)
    options = dict(backend="aot_eager", fullgraph=True)
    both = [wrap(function, **options)(x).tolist() for function in (pure, in_place)]
    return both, wrap(with_a_handle, backend="eager")(x).tolist()

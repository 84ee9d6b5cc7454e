"""Data and tensor parallelism on a mesh with two axes.

Two ranks share each layer and sum their activations. Each such pair of ranks has its own shard of
the batch. Ranks that hold the same weights average their gradients over the pairs.
"""

from lablib.datasets import shard
from lablib.record.wire_bytes import wire_bytes
from lablib.strategies import column_row
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy

TENSOR = 2  # ranks that share a layer; they are neighbours, because they send the most

STRATEGY = Strategy(
    name="data_tensor",
    framework="torch",
    family="combined",
    about="Two ranks share each layer and see the same samples; each such pair has its own shard "
    "of the batch, and gradients are averaged over the pairs.",
    read="Narayanan et al. 2021, Megatron-LM on GPU clusters, https://arxiv.org/abs/2104.04473",
    splits="batch",
    least_ranks=2 * TENSOR,
    fits=lambda task, ranks, batch: why_not(task, ranks),
)


def why_not(task, ranks: int) -> str:
    if ranks % TENSOR:
        return f"{TENSOR} ranks share each layer, and {ranks} is not a multiple of {TENSOR}"
    return column_row.why_not(task, TENSOR)


def train(me, job: Job) -> dict:
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import parallelize_module

    task = job.task
    shape = (me.ranks // TENSOR, TENSOR)
    mesh = init_device_mesh(me.torch_device.type, shape, mesh_dim_names=("data", "tensor"))
    data, plan = mesh["data"], column_row.dtensor_plan(task)
    model = parallelize_module(me.put(task.torch_model(job.seed)), mesh["tensor"], plan)
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    losses = []
    for step in range(job.steps):
        batch = job.batch_at(step)
        mine = [shard(array, data.get_local_rank(), data.size()) for array in batch]
        x, y = me.put(mine)
        with me.step(samples=len(x)):
            loss = task.torch_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            average_gradients(model, data)
            optimizer.step()
        losses.append(loss.item())
    weights = task.torch_arrays(model)  # this gathers DTensors, so every rank must call it
    return {"losses": losses, "weights": weights if me.rank == 0 else {}}


def average_gradients(model, axis):
    """Average this rank's gradients along a mesh axis, in one message and in place."""
    import torch
    import torch.distributed as dist

    gradients = [own_part(weight.grad).view(-1) for weight in model.parameters()]
    flat = torch.cat(gradients)
    dist.all_reduce(flat, group=axis.get_group())
    flat /= axis.size()
    for gradient, mean in zip(gradients, flat.split([*map(len, gradients)]), strict=True):
        gradient.copy_(mean)


def own_part(tensor):
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def expected(task, ranks: int, batch: int) -> Expected:
    pairs = ranks // TENSOR
    weights = column_row.weight_bytes(task, TENSOR)
    calls, nbytes = column_row.all_reduces(task, TENSOR, batch // pairs)
    carried = wire_bytes("all_reduce", nbytes / TENSOR, TENSOR)  # activations in a pair of ranks
    carried += wire_bytes("all_reduce", weights, pairs)  # gradients between the pairs
    return Expected(
        {"all_reduce": (pairs * calls + ranks, pairs * nbytes + ranks * weights)},
        carried,
        # The flat gradients are made after the activations have been freed.
        max(column_row.live_bytes(task, TENSOR, batch // pairs), 4 * weights),
    )

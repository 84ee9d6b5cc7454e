"""Tensor parallelism with DTensor.

`parallelize_module` turns each weight into one tensor whose parts are on all ranks, and inserts the
all-reduces that combine the parts.
"""

from lablib.strategies import column_row
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="tensor_parallel",
    framework="torch",
    family="tensor",
    about="As by hand, but the weights are DTensors, cut by a plan that names a style for each "
    "layer: column-wise or row-wise.",
    read="https://docs.pytorch.org/tutorials/intermediate/TP_tutorial.html",
    splits="nothing",
    least_ranks=2,
    fits=lambda task, ranks, batch: column_row.why_not(task, ranks),
)


def train(me, job: Job) -> dict:
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import parallelize_module

    task = job.task
    mesh = init_device_mesh(me.torch_device.type, (me.ranks,), mesh_dim_names=("tensor",))
    whole = me.put(task.torch_model(job.seed))
    model = parallelize_module(whole, mesh, column_row.dtensor_plan(task))
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.batch_at(step))  # every rank gets the whole batch
        with me.step(samples=len(x)):
            loss = task.torch_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    weights = task.torch_arrays(model)  # this gathers DTensors, so every rank must call it
    return {"losses": losses, "weights": weights if me.rank == 0 else {}}


def expected(task, ranks: int, batch: int) -> Expected:
    messages = {"all_reduce": column_row.all_reduces(task, ranks, batch)}
    carried = wire_bytes_of_collectives(messages, ranks)
    return Expected(messages, carried, column_row.live_bytes(task, ranks, batch))

"""Tensor parallelism by hand: layers are cut in pairs.

A rank holds some columns of the first layer of a pair and the matching rows of the second. Two
functions communicate: f sends nothing forward and sums gradients backward, g sums outputs forward
and sends nothing backward.
"""

from functools import cache

from lablib.strategies import column_row
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.strategy import Job, Strategy

EXERCISES = ("4.5",)
STRATEGY = Strategy(
    name="tensor_parallel_by_hand",
    framework="torch",
    family="tensor",
    about="Every rank holds columns and rows of the layers and sees the whole batch; activations "
    "are summed by all-reduce, once a pair of layers forward and once backward.",
    read="Shoeybi et al. 2019, Megatron-LM, https://arxiv.org/abs/1909.08053",
    splits="nothing",
    least_ranks=2,
    fits=lambda task, ranks, batch: column_row.why_not(task, ranks),
)


def train(me, job: Job) -> dict:
    import torch
    import torch.distributed as dist

    task = job.task
    model = me.put(task.torch_model(job.seed))
    for pair in column_row.pairs(task):
        share_out(model, pair, me)
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.batch_at(step))  # every rank: the whole batch
        with me.step(samples=len(x)):
            loss = task.torch_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    parts = [None] * me.ranks
    dist.all_gather_object(parts, task.torch_arrays(model))
    weights = column_row.put_together(task, parts)
    return {"losses": losses, "weights": weights if me.rank == 0 else {}}


def share_out(model, pair, me):
    """Replace a pair of layers in the model by this rank's part of it, between f and g."""
    f, g = conjugates()
    for name in pair.columns:
        for parameter in model.get_submodule(name).parameters():
            keep(parameter, me, dim=0)  # torch keeps a kernel as (out, in)
    row = model.get_submodule(pair.row)
    keep(row.weight, me, dim=1)
    # Add the bias after the sum. Before the sum it would be added once for each rank.
    row.forward = lambda x: g(x @ row.weight.T) + row.bias
    block = model[pair.first]
    if hasattr(block, "norm"):  # f stands after it: the norm is whole, so must its gradient be
        block.norm.register_forward_hook(lambda norm, inputs, output: f(output))
    else:
        block.register_forward_pre_hook(lambda block, inputs: f(*inputs))


def keep(parameter, me, dim):
    # Copy the part, because a view would keep the whole weight in memory.
    parameter.data = parameter.data.chunk(me.ranks, dim)[me.rank].clone()


@cache
def conjugates():
    """Return f and g: each does backward what the other does forward."""
    import torch
    import torch.distributed as dist

    def summed(tensor):
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    class F(torch.autograd.Function):
        forward = staticmethod(lambda context, x: x.view_as(x))
        backward = staticmethod(lambda context, gradient: summed(gradient))

    class G(torch.autograd.Function):
        forward = staticmethod(lambda context, part: summed(part))
        backward = staticmethod(lambda context, gradient: gradient)

    return F.apply, G.apply


def expected(task, ranks: int, batch: int) -> Expected:
    messages = {"all_reduce": column_row.all_reduces(task, ranks, batch)}
    carried = wire_bytes_of_collectives(messages, ranks)
    return Expected(messages, carried, column_row.live_bytes(task, ranks, batch))

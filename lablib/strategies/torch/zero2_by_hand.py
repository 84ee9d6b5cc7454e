"""ZeRO stage 2: like stage 1, but a rank also keeps only its shard of the gradients.

Each block's gradient is reduce-scattered as soon as the backward pass has computed it, then freed.
"""

from lablib.strategies.activations import saved_bytes
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.flat_buffer import (
    backward_bytes,
    flattened,
    only_float32,
    padded,
    trained,
    views,
)
from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="zero2_by_hand",
    framework="torch",
    family="sharded",
    about="Every rank holds the whole model, but gradients and momentum of its shard only; each "
    "block's gradient is reduce-scattered during the backward pass.",
    read="Rajbhandari et al. 2020, ZeRO, https://arxiv.org/abs/1910.02054",
    splits="batch",
    fits=only_float32,
)


def train(me, job: Job) -> dict:
    import torch
    import torch.distributed as dist
    from torch.func import functional_call

    task, whole = job.task, _whole(me.ranks)
    blocks = [me.put(task.torch_model(job.seed, range(n, n + 1))) for n in range(task.blocks)]
    flats = [flattened(trained(block).values(), me.ranks) for block in blocks]
    for block, flat in zip(blocks, flats):
        for weight, value in zip(trained(block).values(), views(flat, trained(block).values())):
            weight.data = value
    shards = [flat.chunk(me.ranks)[me.rank].requires_grad_() for flat in flats]
    optimizer = torch.optim.SGD(shards, lr=task.lr, momentum=task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.shard_at(step, me))
        with me.step(samples=len(x)):
            for block, flat, shard in zip(blocks, flats, shards):
                weights = trained(block)
                values = views(whole.apply(shard, flat), weights.values())
                x = functional_call(block, dict(zip(weights, values)), x)
            loss = task.torch_loss(x, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            for flat, shard in zip(flats, shards):
                dist.all_gather_into_tensor(flat, shard.data)
        losses.append(loss.item())
    arrays = [task.torch_arrays(block) for block in blocks if me.rank == 0]
    return {"losses": losses, "weights": {name: a[name] for a in arrays for name in a}}


def _whole(ranks):
    """Return a function from shard to weights, so that the backward pass ends in the shard."""
    import torch
    import torch.distributed as dist

    class Whole(torch.autograd.Function):
        @staticmethod
        def forward(ctx, shard, flat):
            return flat.view_as(flat)  # the other shards were gathered after the last update

        @staticmethod
        def backward(ctx, gradient):
            part = gradient.new_empty(len(gradient) // ranks)
            dist.reduce_scatter_tensor(part, gradient)
            return part.div_(ranks), None

    return Whole


def expected(task, ranks: int, batch: int) -> Expected:
    """Return what a rank sends and holds.

    It holds weights and a shard of momentum. Gradients are kept as shards; the gradient of the
    current block exists twice, in parts and flat.
    """
    blocks = [4 * padded(block.parameters, ranks) for block in task.chain]
    calls, whole = ranks * len(blocks), sum(blocks)
    messages = {"reduce_scatter": (calls, ranks * whole), "all_gather": (calls, whole)}
    backward = backward_bytes(blocks, ranks, 2, saved_bytes(task, batch // ranks))
    held = whole + whole / ranks + backward
    return Expected(messages, wire_bytes_of_collectives(messages, ranks), held)

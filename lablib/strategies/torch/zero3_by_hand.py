"""ZeRO stage 3: a rank keeps only its shard of weights, gradients and momentum.

A block's weights are gathered for its forward pass and again for its backward pass. In between, no
rank has the whole weights.
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
    name="zero3_by_hand",
    framework="torch",
    family="sharded",
    about="Every rank holds its shard of weights, gradients and momentum; a block's weights are "
    "all-gathered when they are needed, its gradient is reduce-scattered.",
    read="Rajbhandari et al. 2020, ZeRO, https://arxiv.org/abs/1910.02054",
    splits="batch",
    fits=only_float32,
)


def train(me, job: Job) -> dict:
    import torch

    task, whole = job.task, _whole(me.ranks)
    blocks = [me.put(task.torch_model(job.seed, range(n, n + 1))) for n in range(task.blocks)]
    shards = [_shard(block, me) for block in blocks]
    optimizer = torch.optim.SGD(shards, lr=task.lr, momentum=task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.shard_at(step, me))
        with me.step(samples=len(x)):
            for block, shard in zip(blocks, shards):
                x = _forward(block, shard, x, whole)
            loss = task.torch_loss(x, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    arrays = [_arrays(task, block, shard, me) for block, shard in zip(blocks, shards)]
    return {"losses": losses, "weights": {name: a[name] for a in arrays for name in a}}


def _shard(block, me):
    """Return this rank's part of the block's weights; keep only the whole weights' shapes."""
    weights = trained(block).values()
    shard = flattened(weights, me.ranks).chunk(me.ranks)[me.rank].clone()
    for weight in weights:
        weight.data = weight.data.new_zeros(()).expand(weight.shape)
    return shard.requires_grad_()


def _gathered(shard, ranks):
    import torch.distributed as dist

    flat = shard.new_empty(len(shard) * ranks)
    dist.all_gather_into_tensor(flat, shard)
    return flat


def _whole(ranks):
    """Return a function from shard to weights: all-gather forward, reduce-scatter backward."""
    import torch
    import torch.distributed as dist

    class Whole(torch.autograd.Function):
        @staticmethod
        def forward(ctx, shard):
            return _gathered(shard, ranks)

        @staticmethod
        def backward(ctx, gradient):
            part = gradient.new_empty(len(gradient) // ranks)
            dist.reduce_scatter_tensor(part, gradient)
            return part.div_(ranks)

    return Whole


def _forward(block, shard, x, whole):
    """Run a block's forward pass without keeping its weights for the backward pass.

    Instead of a weight, autograd keeps the weight's position in the flat buffer. When the backward
    pass looks up the first position, it gathers the buffer again.
    """
    import torch
    from torch.autograd.graph import saved_tensors_hooks
    from torch.func import functional_call

    flat, again = whole.apply(shard), []
    start = flat.untyped_storage().data_ptr()
    ranks = len(flat) // len(shard)

    def keep(tensor):
        here = tensor.untyped_storage().data_ptr() == start
        return (tensor.shape, tensor.stride(), tensor.storage_offset()) if here else tensor

    def look_up(kept):
        if isinstance(kept, torch.Tensor):
            return kept
        if not again:
            again.append(_gathered(shard.detach(), ranks))
        return again[0].as_strided(*kept)

    weights = trained(block)
    with saved_tensors_hooks(keep, look_up):
        values = views(flat, weights.values())
        return functional_call(block, dict(zip(weights, values)), x)


def _arrays(task, block, shard, me):
    weights = trained(block).values()
    for weight, value in zip(weights, views(_gathered(shard.detach(), me.ranks), weights)):
        weight.data = value
    return task.torch_arrays(block) if me.rank == 0 else {}


def expected(task, ranks: int, batch: int) -> Expected:
    """Return what a rank sends and holds.

    It holds a shard of weights and momentum, and gradients as shards. In addition it holds one
    block's weights, and its gradient in parts and then flat.

    The first block's weights are gathered only once, because no gradient of its input is needed.
    But if the first block is a convolution, its backward pass gathers them, too.
    """
    blocks = [4 * padded(block.parameters, ranks) for block in task.chain]
    kind = getattr(task.chain[0], "kind", "conv")
    again = blocks if kind.startswith("conv") else blocks[1:]
    whole, calls = sum(blocks), len(blocks) + len(again)
    messages = {
        "all_gather": (ranks * calls, whole + sum(again)),
        "reduce_scatter": (ranks * len(blocks), ranks * whole),
    }
    backward = backward_bytes(blocks, ranks, 3, saved_bytes(task, batch // ranks))
    held = 2 * whole / ranks + backward
    return Expected(messages, wire_bytes_of_collectives(messages, ranks), held)

"""ZeRO stage 3 with FSDP2, `fully_shard`: weights, gradients and momentum are sharded by rows.

A block's weights are gathered while the block before it still computes.
"""

from itertools import pairwise

from lablib.strategies.activations import saved_bytes
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.flat_buffer import backward_bytes, padded
from lablib.strategies.strategy import Job, Strategy


def _fits(task, ranks, batch, prefetch):
    if "tensorflow" in task.model.frameworks:
        return ""  # the named tasks have no such weights
    weights = [weight for _, weight in task.torch_model().named_parameters(remove_duplicate=False)]
    if any(weight.ndim == 0 for weight in weights):
        return "fully_shard cuts weights by rows, and one of them is a single number"
    tied = task.blocks > 1 and len(weights) > len(set(weights))
    return "blocks are sharded one by one, and layers share a weight" if tied else ""


STRATEGY = Strategy(
    name="fsdp",
    framework="torch",
    family="sharded",
    about="Every rank holds its shard of weights, gradients and momentum; a block's weights are "
    "all-gathered one block ahead, its gradient is reduce-scattered.",
    read="Zhao et al. 2023, PyTorch FSDP, https://arxiv.org/abs/2304.11277; "
    "https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html",
    splits="batch",
    fits=_fits,
    options={"prefetch": True},
)


def train(me, job: Job) -> dict:
    import torch
    from torch.distributed.fsdp import fully_shard

    from lablib.frameworks.torch.compat import unshard_in_background

    task, model = job.task, me.put(job.task.torch_model(job.seed))
    blocks = [fully_shard(block) for block in model] if task.blocks > 1 else []
    fully_shard(model)
    if job.options["prefetch"]:
        for block, following in pairwise(blocks):
            block.set_modules_to_forward_prefetch([following])
        # A GPU runs messages on their own stream. A CPU has no streams, so the rank would wait.
        unshard_in_background(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.shard_at(step, me))
        with me.step(samples=len(x)):
            loss = task.torch_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    weights = task.torch_arrays(model)  # this gathers the weights, so every rank must call it
    return {"losses": losses, "weights": weights if me.rank == 0 else {}}


def expected(task, ranks: int, batch: int, prefetch: bool = True) -> Expected:
    """Return what a rank sends and holds.

    A rank holds a shard of weights and momentum. Its gradients arrive as shards. In addition it
    holds one block's weights and gradient, the weights that are gathered ahead, and the gradient
    that was sent last, which is kept until the next one is sent. Each weight is cut by rows and
    padded to equal shards.
    """
    blocks = [task.torch_model(0, range(n, n + 1)) for n in range(task.blocks)]
    sizes = [sum(_padded_bytes(weight, ranks) for weight in b.parameters()) for b in blocks]
    calls, whole = ranks * len(sizes), sum(sizes)
    messages = {"all_gather": (2 * calls, 2 * whole), "reduce_scatter": (calls, ranks * whole)}
    backward = backward_bytes(sizes, ranks, 4, saved_bytes(task, batch // ranks))
    held = 2 * whole / ranks + backward
    return Expected(messages, wire_bytes_of_collectives(messages, ranks), held)


def _padded_bytes(weight, ranks):
    return weight.nbytes // len(weight) * padded(len(weight), ranks)

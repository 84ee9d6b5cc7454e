"""ZeRO stage 1: a rank holds all weights and gradients, but one shard of the optimizer's state.

It updates this shard. Then the ranks gather the updated shards.
"""

from lablib.strategies.activations import saved_bytes
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.flat_buffer import flattened_with_gradients, only_float32, padded
from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="zero1_by_hand",
    framework="torch",
    family="sharded",
    about="Every rank holds the whole model and the momentum of its shard; gradients are "
    "reduce-scattered after the backward pass, weights all-gathered after the update.",
    read="Rajbhandari et al. 2020, ZeRO, https://arxiv.org/abs/1910.02054",
    splits="batch",
    fits=only_float32,
)


def train(me, job: Job) -> dict:
    import torch
    import torch.distributed as dist

    task, model = job.task, me.put(job.task.torch_model(job.seed))
    flat, gradients = flattened_with_gradients(model, me.ranks)
    shard = flat.chunk(me.ranks)[me.rank]  # a view of `flat`: updating it updates the model
    shard.grad = torch.empty_like(shard)
    optimizer = torch.optim.SGD([shard], lr=task.lr, momentum=task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.shard_at(step, me))
        with me.step(samples=len(x)):
            loss = task.torch_loss(model(x), y)
            gradients.zero_()
            loss.backward()
            dist.reduce_scatter_tensor(shard.grad, gradients)
            shard.grad /= me.ranks
            optimizer.step()
            dist.all_gather_into_tensor(flat, shard)
        losses.append(loss.item())
    return {"losses": losses, "weights": task.torch_arrays(model) if me.rank == 0 else {}}


def expected(task, ranks: int, batch: int) -> Expected:
    """Return what a rank sends and holds.

    It holds weights, gradients, a shard of both gradients and momentum, and one new gradient.
    """
    whole = 4 * padded(task.parameters, ranks)
    messages = {"reduce_scatter": (ranks, ranks * whole), "all_gather": (ranks, whole)}
    largest = max(array.nbytes for array in task.weights().values())
    held = 2 * whole + 2 * whole / ranks + largest + saved_bytes(task, batch // ranks)
    return Expected(messages, wire_bytes_of_collectives(messages, ranks), held)

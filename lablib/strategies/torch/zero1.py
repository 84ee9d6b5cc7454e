"""ZeRO stage 1 with PyTorch's own classes.

DDP averages the gradients on every rank. `ZeroRedundancyOptimizer` assigns each weight to one rank,
which keeps the weight's momentum and updates it.
"""

from lablib.strategies import activations, buckets
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="zero1",
    framework="torch",
    family="sharded",
    about="Every rank holds the whole model and the momentum of some of its weights; gradients are "
    "all-reduced, each weight is broadcast by the rank that has updated it.",
    read="https://docs.pytorch.org/docs/stable/distributed.optim.html",
    splits="batch",
    options={"bucket_mb": 25.0},
)


def train(me, job: Job) -> dict:
    import torch
    from torch.distributed.optim import ZeroRedundancyOptimizer
    from torch.nn.parallel import DistributedDataParallel

    task = job.task
    model = DistributedDataParallel(
        me.put(task.torch_model(job.seed)),
        bucket_cap_mb=job.options["bucket_mb"],
        gradient_as_bucket_view=True,  # otherwise there are two copies of every gradient
    )
    optimizer = ZeroRedundancyOptimizer(
        model.parameters(), torch.optim.SGD, lr=task.lr, momentum=task.momentum
    )
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.shard_at(step, me))
        with me.step(samples=len(x)):
            optimizer.zero_grad()  # must come first: DDP makes new buckets in the second step
            loss = task.torch_loss(model(x), y)
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    return {"losses": losses, "weights": task.torch_arrays(model) if me.rank == 0 else {}}


def expected(task, ranks: int, batch: int, bucket_mb: float = 25.0) -> Expected:
    """Return what a rank sends and holds.

    The fullest rank holds weights, gradients, its momentum, and one gradient that is being copied
    into its bucket.
    """
    sizes = buckets.gradient_bytes(task)
    calls = ranks * len(buckets.packed(sizes, bucket_mb))
    whole = ranks * sum(sizes)
    messages = {"all_reduce": (calls, whole), "broadcast": (ranks * len(sizes), whole)}
    held = 2 * task.weight_bytes + _fullest(sizes, ranks) + max(sizes)
    held += activations.saved_bytes(task, batch // ranks)
    return Expected(messages, wire_bytes_of_collectives(messages, ranks), held)


def _fullest(sizes, ranks):
    """Return the bytes of the fullest rank: the next largest weight goes to the emptiest rank."""
    held = [0] * ranks
    for size in sorted(sizes, reverse=True):
        held[held.index(min(held))] += size
    return max(held)

"""Data parallelism with `DistributedDataParallel`.

Every rank has the whole model and its shard of the batch. Gradients are averaged in buckets, while
the backward pass is still running.
"""

from lablib.strategies import activations, buckets
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="ddp",
    framework="torch",
    family="data",
    about="Every rank holds the whole model and its shard of the batch; gradients are averaged "
    "by all-reduce during the backward pass.",
    read="Li et al. 2020, PyTorch Distributed, https://arxiv.org/abs/2006.15704",
    splits="batch",
    options={"bucket_mb": 25.0, "find_unused_parameters": False},
)
_FLAG_BYTES = 4  # DDP's flag for each weight: was it used in this step?


def train(me, job: Job) -> dict:
    import torch
    from torch.nn.parallel import DistributedDataParallel

    task = job.task
    model = DistributedDataParallel(
        me.put(task.torch_model(job.seed)),
        bucket_cap_mb=job.options["bucket_mb"],
        find_unused_parameters=job.options["find_unused_parameters"],
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.shard_at(step, me))
        with me.step(samples=len(x)):
            loss = task.torch_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()  # the gradients are averaged in here, not in optimizer.step()
            optimizer.step()
        losses.append(loss.item())
    return {"losses": losses, "weights": task.torch_arrays(model) if me.rank == 0 else {}}


def expected(task, ranks, batch, bucket_mb=25.0, find_unused_parameters=False) -> Expected:
    sizes = buckets.gradient_bytes(task)
    calls = len(buckets.packed(sizes, bucket_mb))
    nbytes = sum(sizes)
    if find_unused_parameters:
        # DDP keeps its first buckets, which start with the first weight: it learns the order of the
        # gradients only in a step that uses all weights. It also sends one more message with the
        # flags.
        calls = len(buckets.packed(sizes[::-1], bucket_mb)) + 1
        nbytes += _FLAG_BYTES * len(sizes)
    # Weights, gradients, momentum, and the buckets into which DDP copies the gradients.
    held = 4 * task.weight_bytes + activations.saved_bytes(task, batch // ranks)
    messages = {"all_reduce": (ranks * calls, ranks * nbytes)}
    return Expected(messages, wire_bytes_of_collectives(messages, ranks), held)

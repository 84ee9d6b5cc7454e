"""DDP with less memory for activations: a rank's shard passes the model in micro-batches.

The micro-batches follow one another, and their gradients add up on the rank. Only the backward pass
of the last one sends the sum.
"""

from contextlib import nullcontext

from lablib.strategies import activations, buckets
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="gradient_accumulation",
    framework="torch",
    family="data",
    about="As ddp, but every rank takes its shard in micro-batches and holds the activations of "
    "one; gradients are averaged by all-reduce once a step.",
    read="https://docs.pytorch.org/docs/stable/generated/"
    "torch.nn.parallel.DistributedDataParallel.html (no_sync)",
    splits="batch",
    options={"micro_batches": 4, "bucket_mb": 25.0},
)


def train(me, job: Job) -> dict:
    import torch
    from torch.nn.parallel import DistributedDataParallel

    task = job.task
    model = DistributedDataParallel(
        me.put(task.torch_model(job.seed)), bucket_cap_mb=job.options["bucket_mb"]
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.shard_at(step, me))
        inputs, targets = (array.chunk(job.options["micro_batches"]) for array in (x, y))
        with me.step(samples=len(x)):
            optimizer.zero_grad()
            losses.append(0.0)
            for number in range(len(inputs)):
                last = number == len(inputs) - 1
                with nullcontext() if last else model.no_sync():
                    loss = task.torch_loss(model(inputs[number]), targets[number])
                    loss = loss * (len(inputs[number]) / len(x))  # chunks may differ in size
                    loss.backward()
                losses[-1] += loss.item()
            optimizer.step()
    return {"losses": losses, "weights": task.torch_arrays(model) if me.rank == 0 else {}}


def expected(task, ranks, batch, micro_batches=4, bucket_mb=25.0) -> Expected:
    sizes = buckets.gradient_bytes(task)
    calls = len(buckets.packed(sizes, bucket_mb))
    # Weights, gradients, momentum, DDP's buckets, and one new gradient that is still to be added.
    micro_batch = -(-batch // ranks // micro_batches)
    held = 4 * task.weight_bytes + max(sizes) + activations.saved_bytes(task, micro_batch)
    messages = {"all_reduce": (ranks * calls, ranks * sum(sizes))}
    return Expected(messages, wire_bytes_of_collectives(messages, ranks), held)

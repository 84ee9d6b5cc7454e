"""Data parallelism with `DistributedDataParallel`: a whole model on every rank, a shard of the
batch each, and one sum of the gradients, sent in buckets while the backward pass still runs."""

from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="ddp",
    framework="torch",
    family="data",
    about="Every rank holds the whole model and its shard of the batch; gradients are averaged "
    "by all-reduce during the backward pass.",
    read="Li et al. 2020, PyTorch Distributed, https://arxiv.org/abs/2006.15704",
    splits="batch",
    options={"bucket_mb": 25.0},
)


def train(me, job: Job) -> dict:
    import torch
    from torch.nn.parallel import DistributedDataParallel

    task = job.task
    model = DistributedDataParallel(
        task.torch_model(job.seed), bucket_cap_mb=job.options["bucket_mb"]
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = map(torch.from_numpy, job.shard_at(step, me))
        with me.step(samples=len(x)):
            loss = task.torch_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()  # the gradients are averaged in here, not in optimizer.step()
            optimizer.step()
        losses.append(loss.item())
    return {"losses": losses, "weights": task.torch_arrays(model) if me.rank == 0 else {}}

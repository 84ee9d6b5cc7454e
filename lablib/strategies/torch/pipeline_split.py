"""Model parallelism in its simplest form: the model is cut into stages, one a rank; activations
go forward from rank to rank, their gradients come back. One stage works while the others wait."""

from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="pipeline_split",
    framework="torch",
    family="model",
    about="Every rank holds one stage of the model; activations are sent forward, gradients "
    "back. No stage overlaps another.",
    read="https://docs.pytorch.org/docs/stable/distributed.html#point-to-point-communication",
    splits="blocks",
    least_ranks=2,
)


def train(me, job: Job) -> dict:
    import torch
    import torch.distributed as dist

    task, last = job.task, me.ranks - 1
    blocks = task.cut(me.ranks)[me.rank]
    stage = task.torch_model(job.seed, blocks)
    optimizer = torch.optim.SGD(stage.parameters(), lr=task.lr, momentum=task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = map(torch.from_numpy, job.batch_at(step))
        with me.step(samples=len(x)):
            if me.rank > 0:
                x = torch.empty(job.batch, *task.chain[blocks[0]].shape_in)
                dist.recv(x, me.rank - 1)
                x.requires_grad_()
            h = stage(x)
            optimizer.zero_grad()
            if me.rank == last:
                loss = task.torch_loss(h, y)
                loss.backward()
                losses.append(loss.item())
            else:
                dist.send(h.data, me.rank + 1)
                gradient = torch.empty_like(h)
                dist.recv(gradient, me.rank + 1)
                h.backward(gradient)
            if me.rank > 0:
                dist.send(x.grad, me.rank - 1)
            optimizer.step()
    return {"losses": losses, "weights": task.torch_arrays(stage)}

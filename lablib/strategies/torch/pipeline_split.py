"""Model parallelism in its simplest form: the model is cut into stages, one a rank; activations
go forward from rank to rank, their gradients come back. One stage works while the others wait."""

from lablib.strategies import stages
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="pipeline_split",
    framework="torch",
    family="pipeline",
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
            optimizer.zero_grad()
            if me.rank > 0:
                x = task.torch_input(blocks[0], job.batch)
                dist.recv(x, me.rank - 1)
                x.requires_grad_()
            h = stage(x)
            if me.rank == last:
                loss = task.torch_loss(h, y)
                loss.backward()
                losses.append(loss.item())
            else:
                dist.send(h.data.contiguous(), me.rank + 1)
                gradient = torch.empty(h.shape, dtype=h.dtype)
                dist.recv(gradient, me.rank + 1)
                h.backward(gradient)
            if me.rank > 0:
                dist.send(x.grad.contiguous(), me.rank - 1)
            optimizer.step()
    return {"losses": losses, "weights": task.torch_arrays(stage)}


def expected(task, ranks, batch) -> Expected:
    order = [stages.passes(rank, pieces=1, ahead=1) for rank in range(ranks)]
    return Expected(
        stages.messages(task, ranks, batch, pieces=1),
        stages.wire_bytes(task, ranks, ranks, batch),
        stages.live_bytes(task, task.cut(ranks), order, batch),
    )

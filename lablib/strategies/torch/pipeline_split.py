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
    stage = task.torch_model(job.seed, task.cut(me.ranks)[me.rank])
    optimizer = torch.optim.SGD(stage.parameters(), lr=task.lr, momentum=task.momentum)
    shape_in = _shape_from_before(me, stage, job)
    losses = []
    for step in range(job.steps):
        x, y = map(torch.from_numpy, job.batch_at(step))
        with me.step(samples=len(x)):
            if me.rank > 0:
                x = torch.empty(shape_in, requires_grad=True)
                dist.recv(x.data, me.rank - 1)
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


def _shape_from_before(me, stage, job):
    """The shape of what the stage before sends; told once, from stage to stage."""
    import torch
    import torch.distributed as dist

    shape = [job.batch_at(0)[0].shape]
    if me.rank > 0:
        dist.recv_object_list(shape, me.rank - 1)
    x = torch.from_numpy(job.batch_at(0)[0]) if me.rank == 0 else torch.zeros(shape[0])
    if me.rank < me.ranks - 1:
        with torch.no_grad():
            dist.send_object_list([stage(x).shape], me.rank + 1)
    return shape[0]

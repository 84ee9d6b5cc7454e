"""Model parallelism in its simplest form: the model is cut into one stage for each rank.

Activations go forward from rank to rank, and their gradients come back. Only one stage works at a
time; the others wait.
"""

from lablib.strategies import stages
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.torch_stage import torch_stage

STRATEGY = Strategy(
    name="pipeline_split",
    framework="torch",
    family="pipeline",
    about="Every rank holds one stage of the model; activations are sent forward, gradients "
    "back. No stage overlaps another.",
    read="https://docs.pytorch.org/docs/stable/distributed.pipelining.html",
    splits="blocks",
    least_ranks=2,
)


def train(me, job: Job) -> dict:
    import torch
    from torch.distributed.pipelining import ScheduleGPipe

    task, cut = job.task, job.task.cut(me.ranks)
    model = me.put(task.torch_model(job.seed, cut[me.rank]))
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    stage = torch_stage(model, task, cut, me.rank, job.batch, me.torch_device)
    schedule = ScheduleGPipe(stage, 1, loss_fn=task.torch_loss)  # the whole batch in one piece
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.batch_at(step))
        inputs = (x,) if stage.is_first else ()
        parts = []
        with me.step(samples=len(x)):
            optimizer.zero_grad()
            schedule.step(
                *inputs,
                target=y if stage.is_last else None,
                losses=parts if stage.is_last else None,
                return_outputs=False,
            )
            optimizer.step()
        losses += [loss.item() for loss in parts]
    return {"losses": losses, "weights": task.torch_arrays(model)}


def expected(task, ranks, batch) -> Expected:
    order = [stages.passes(rank, pieces=1, ahead=1) for rank in range(ranks)]
    return Expected(
        stages.messages(task, ranks, batch, pieces=1),
        stages.wire_bytes(task, ranks, ranks, batch),
        stages.live_bytes(task, task.cut(ranks), order, batch, buffers=1),
    )

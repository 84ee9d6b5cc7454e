"""GPipe: the batch is cut into micro-batches, so that stages work on different ones at the same
time.

All forward passes come first, then all backward passes. Until then the stages keep the activations
of all micro-batches.
"""

from lablib.strategies import stages
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.torch_stage import torch_stage

STRATEGY = Strategy(
    name="gpipe",
    framework="torch",
    family="pipeline",
    about="Every rank holds one stage of the model; micro-batches flow through all stages forward, "
    "then all of them backward.",
    read="Huang et al. 2019, GPipe, https://arxiv.org/abs/1811.06965",
    splits="blocks",
    least_ranks=2,
    fits=stages.why_not,
    options={"micro_batches": 4},
)


def train(me, job: Job) -> dict:
    import torch
    from torch.distributed.pipelining import ScheduleGPipe

    task, pieces = job.task, job.options["micro_batches"]
    cut = task.cut(me.ranks)
    model = me.put(task.torch_model(job.seed, cut[me.rank]))
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    stage = torch_stage(model, task, cut, me.rank, job.batch // pieces, me.torch_device)
    # The schedule divides the gradients by the number of micro-batches: the mean over the batch.
    schedule = ScheduleGPipe(stage, pieces, loss_fn=task.torch_loss)
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
        losses += [torch.stack(parts).mean().item()] if parts else []
    return {"losses": losses, "weights": task.torch_arrays(model)}


def expected(task, ranks, batch, micro_batches=4) -> Expected:
    order = [stages.passes(rank, micro_batches, ahead=micro_batches) for rank in range(ranks)]
    piece = batch // micro_batches
    return Expected(
        stages.messages(task, ranks, batch, micro_batches),
        stages.wire_bytes(task, ranks, ranks, batch),
        stages.live_bytes(task, task.cut(ranks), order, piece, buffers=micro_batches),
    )

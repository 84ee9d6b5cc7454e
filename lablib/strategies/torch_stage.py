"""A stage of torch's pipelines, and training with one stage on each rank.

The kit tells torch all shapes, so torch runs no extra pass.
"""

from __future__ import annotations

from lablib.strategies.strategy import Job
from lablib.tasks import Task


def torch_stage(model, task: Task, cut: list[range], number: int, piece: int, device, group=None):
    """Return torch's `PipelineStage` of stage `number` of the cut.

    model    the module of that stage, on the device of the rank
    piece    samples of one micro-batch
    device   `me.torch_device`: the device on which the stage receives its neighbours' tensors
    group    process group of the pipeline; None: all ranks

    Without shapes, torch would find them out by running the stage once on uninitialised memory.
    That pass would change every buffer that the forward pass updates, such as BatchNorm's
    statistics or counters of calls.
    """
    from torch.distributed.pipelining import PipelineStage

    if number + 1 < len(cut):  # the next stage needs contiguous memory to receive into
        model.register_forward_hook(lambda module, inputs, output: output.contiguous())
    return PipelineStage(
        model, number, len(cut), device,
        input_args=_like_input(task, cut[number], piece, sent=number > 0),
        output_args=_like_output(task, cut[number + 1 : number + 2], piece), group=group,
    )  # fmt: skip


def train_with(schedule_class, me, job: Job, pieces: int = 1) -> dict:
    """Train a pipeline that has one stage on each rank.

    schedule_class   a single-stage schedule of torch.distributed.pipelining, for example
                     `Schedule1F1B`: it decides in which order a rank works on the micro-batches
    pieces           micro-batches in one batch

    Returns what the `train` of a strategy returns.
    """
    import torch

    task = job.task
    cut = task.cut(me.ranks)
    model = me.put(task.torch_model(job.seed, cut[me.rank]))
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    stage = torch_stage(model, task, cut, me.rank, job.batch // pieces, me.torch_device)
    # The schedule divides the gradients by the number of micro-batches: the mean over the batch.
    schedule = schedule_class(stage, pieces, loss_fn=task.torch_loss)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.batch_at(step))
        with me.step(samples=len(x)):
            optimizer.zero_grad()
            parts = pass_through(schedule, x, y, stage.is_first, stage.is_last)
            optimizer.step()
        losses += mean_loss(parts)
    return {"losses": losses, "weights": task.torch_arrays(model)}


def pass_through(schedule, x, y, is_first: bool, is_last: bool) -> list:
    """Send a batch forward and backward through the pipeline.

    x, y                inputs [B, ...] and targets [B], the same on every rank
    is_first, is_last   whether this rank holds the pipeline's first stage, and its last one

    Returns the losses of the micro-batches on the last rank, and [] on the others.
    """
    losses = []
    schedule.step(
        *((x,) if is_first else ()),
        target=y if is_last else None,
        losses=losses if is_last else None,
        return_outputs=False,
    )
    return losses


def mean_loss(parts: list) -> list[float]:
    """Return [the mean of the micro-batches' losses], or [] where there are none."""
    import torch

    return [torch.stack(parts).mean().item()] if parts else []


def _like_input(task, blocks, piece, sent):
    """Return a tensor without contents that has the shape and type of the input of these blocks."""
    import torch

    with torch.device("meta"):
        return task.torch_input(blocks[0], piece).requires_grad_(sent)


def _like_output(task, following, piece):
    """Return a tensor like the next stage's input. The outputs of the last stage are not sent."""
    import torch

    if following:
        return _like_input(task, following[0], piece, sent=True)
    return torch.empty((), device="meta")

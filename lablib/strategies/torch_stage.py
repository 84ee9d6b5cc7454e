"""A stage of torch's pipelines. The kit tells torch all shapes, so torch runs no extra pass."""

from __future__ import annotations

from lablib.tasks import Task


def torch_stage(model, task: Task, cut: list[range], number: int, piece: int, device, group=None):
    """Return torch's `PipelineStage` of stage `number` of the cut.

    model    the module of that stage, on the device of the rank
    piece    samples of one micro-batch
    device   `me.torch_device`: where the stage receives what its neighbours send
    group    process group of the pipeline; None: all ranks

    Without shapes, torch would run the stage once on memory that nobody has filled, to find them
    out. That pass would change every buffer that the forward pass updates: BatchNorm's statistics,
    counters of calls.
    """
    from torch.distributed.pipelining import PipelineStage

    if number + 1 < len(cut):  # the next stage receives into contiguous memory
        model.register_forward_hook(lambda module, inputs, output: output.contiguous())
    return PipelineStage(
        model, number, len(cut), device,
        input_args=_like_input(task, cut[number], piece, sent=number > 0),
        output_args=_like_output(task, cut[number + 1 : number + 2], piece), group=group,
    )  # fmt: skip


def _like_input(task, blocks, piece, sent):
    """A tensor without contents, of the shape and type that a stage of these blocks takes in."""
    import torch

    with torch.device("meta"):
        return task.torch_input(blocks[0], piece).requires_grad_(sent)


def _like_output(task, following, piece):
    """What the next stage takes in. Nobody receives the outputs of the last stage."""
    import torch

    if following:
        return _like_input(task, following[0], piece, sent=True)
    return torch.empty((), device="meta")

"""Make a stage of torch's pipelines. The kit gives torch all shapes, to avoid an extra pass."""

from __future__ import annotations

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

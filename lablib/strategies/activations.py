"""What the forward pass keeps for the backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lablib.tasks import Task


def saved_bytes(task: Task, samples: int) -> int:
    """Bytes that autograd keeps of one forward pass over so many samples, weights not counted.

    Nothing is computed: on the meta device tensors have shapes, and no memory.
    """
    import torch

    x, y = (torch.from_numpy(array).to("meta") for array in task.batch_at(0, samples))
    model = task.torch_model().to("meta")
    known = {weight.untyped_storage()._cdata for weight in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = task.torch_loss(model(x), y)  # noqa: F841 - it holds what is kept
        return sum(storage.nbytes() for storage in kept.values())

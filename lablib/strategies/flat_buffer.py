"""Many weights in one flat buffer: what is one array can be cut into equal shards, one a rank."""

from __future__ import annotations

from itertools import accumulate, pairwise


def trained(module) -> dict:
    """The module's weights that have a gradient, by name."""
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}


def flattened(weights, ranks: int):
    """Their numbers in one new array, with zeros at its end up to a multiple of `ranks`."""
    weights = list(weights)
    flat = weights[0].data.new_zeros(padded(sum(weight.numel() for weight in weights), ranks))
    for weight, view in zip(weights, views(flat, weights), strict=True):
        view.copy_(weight.data)
    return flat


def views(flat, weights) -> list:
    """Parts of a flat buffer in the shapes of the weights; no number is copied."""
    weights = list(weights)
    ends = list(accumulate((weight.numel() for weight in weights), initial=0))
    parts = flat.split([*(end - start for start, end in pairwise(ends)), len(flat) - ends[-1]])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=False)]


def padded(length: int, ranks: int) -> int:
    """The next multiple of `ranks`.

    >>> padded(10, ranks=4)
    12
    """
    return -(-length // ranks) * ranks


def only_float32(task, ranks: int, batch: int, **options) -> str:
    """Why weights of this task do not fit into one array; "" when they do."""
    narrow = task.weight_bytes != 4 * task.parameters
    return "a flat buffer has one type, and not all weights are float32" if narrow else ""


def backward_bytes(blocks: list[int], ranks: int, copies: int, saved: int) -> float:
    """The most that a backward pass holds whose gradients are sharded block by block.

    blocks   bytes of each block's weights
    copies   of the block whose turn it is: its weights where they are gathered, its gradient
    saved    bytes that the forward pass kept; each block frees an equal part

    >>> backward_bytes([8, 4], ranks=2, copies=1, saved=2)
    11.0
    """
    return max(
        sum(blocks[number + 1 :]) / ranks + copies * block + saved * (number + 1) / len(blocks)
        for number, block in enumerate(blocks)
    )

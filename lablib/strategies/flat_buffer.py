"""Put many weights into one flat buffer, which can be cut into one equal shard for each rank."""

from __future__ import annotations

from itertools import accumulate, pairwise


def trained(module) -> dict:
    """Return {name: weight} for the module's weights that have a gradient."""
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}


def flattened(weights, ranks: int):
    """Copy the weights into one new array, with zeros at its end up to a multiple of `ranks`."""
    weights = list(weights)
    flat = weights[0].data.new_zeros(padded(sum(weight.numel() for weight in weights), ranks))
    for weight, view in zip(weights, views(flat, weights), strict=True):
        view.copy_(weight.data)
    return flat


def flattened_with_gradients(module, ranks: int = 1) -> tuple:
    """Make the module's trained weights, and their gradients, views of two flat buffers.

    Returns (weights, gradients), two arrays with zeros at their ends up to a multiple of `ranks`.
    """
    weights = trained(module).values()
    flat = flattened(weights, ranks)
    gradients = flat.new_zeros(len(flat))
    for weight, value, gradient in zip(weights, views(flat, weights), views(gradients, weights)):
        weight.data, weight.grad = value, gradient
    return flat, gradients


def views(flat, weights) -> list:
    """Return views of a flat buffer with the shapes of the weights; nothing is copied."""
    weights = list(weights)
    ends = list(accumulate((weight.numel() for weight in weights), initial=0))
    parts = flat.split([*(end - start for start, end in pairwise(ends)), len(flat) - ends[-1]])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=False)]


def padded(length: int, ranks: int) -> int:
    """Return the next multiple of `ranks`.

    >>> padded(10, ranks=4)
    12
    """
    return -(-length // ranks) * ranks


def only_float32(task, ranks: int, batch: int, **options) -> str:
    """Return why the weights of this task do not fit into one array; "" if they do."""
    narrow = task.weight_bytes != 4 * task.parameters
    return "a flat buffer has one type, and not all weights are float32" if narrow else ""


def backward_bytes(blocks: list[int], ranks: int, copies: int, saved: int) -> float:
    """Return the most bytes held in a backward pass whose gradients are sharded block by block.

    blocks   bytes of each block's weights
    copies   arrays as large as the current block's weights: gathered weights, gradient
    saved    bytes that the forward pass kept; each block frees an equal part

    >>> backward_bytes([8, 4], ranks=2, copies=1, saved=2)
    11.0
    """
    return max(
        sum(blocks[number + 1 :]) / ranks + copies * block + saved * (number + 1) / len(blocks)
        for number, block in enumerate(blocks)
    )

"""Find the layers that tensor parallelism cuts in pairs: the first by columns, the second by rows.

A rank with some columns of the first layer computes exactly the inputs for its rows of the second
layer, so nothing is sent between the two. After the second layer every rank has one term of each
sum, and one all-reduce adds them. In the backward pass, one all-reduce adds the gradients of the
first layer's input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from lablib.tasks import Task
from lablib.tasks.blocks import HEAD_WIDTH
from lablib.tasks.chain import Chain

_DENSE = ("dense", "logits")


@dataclass(frozen=True)
class Pair:
    """Two layers that are cut together; layers are given by their names, such as "1.query".

    first, last   numbers of the first and the last block of the pair
    columns       names of the layers that are cut by columns
    row           name of the layer that is cut by rows
    parts         the number of parts that can be divided among ranks: heads, or the width
    """

    first: int
    last: int
    columns: tuple[str, ...]
    row: str
    parts: int


def pairs(task: Task) -> list[Pair]:
    """Return the pairs of a task.

    Each attention and feed-forward block has a pair, and two dense blocks in a row are a pair. The
    other layers (embedding, norms, head) are whole on every rank.
    """
    found, number = [], 0
    while number < len(task.chain):
        pair = _pair_at(task.chain, number)
        found += [pair] if pair else []
        number = pair.last + 1 if pair else number + 1
    return found


def _pair_at(chain, n):
    block = chain[n]
    if block.kind == "attention":
        heads = block.shape_out[-1] // HEAD_WIDTH
        return Pair(n, n, (f"{n}.query", f"{n}.key", f"{n}.value"), f"{n}.out", heads)
    if block.kind == "feed_forward":
        return Pair(n, n, (f"{n}.up",), f"{n}.down", 4 * block.shape_out[-1])
    if block.kind in _DENSE and n + 1 < len(chain) and chain[n + 1].kind in _DENSE:
        return Pair(n, n + 1, (f"{n}.dense",), f"{n + 1}.dense", prod(block.shape_out))
    return None


def why_not(task: Task, ranks: int) -> str:
    """Return why the task's layers cannot be cut for this number of ranks; "" if they can."""
    if not isinstance(task.model, Chain):
        return "the kit knows only for the named tasks which layers form pairs"
    if any(block.kind.startswith("conv") for block in task.chain):
        return "convolutions have no pairs of columns and rows here"
    for pair in pairs(task):
        if pair.parts % ranks:
            return f"{pair.columns[0]} has {pair.parts} equal parts, not a multiple of {ranks}"
    return ""


def cut_axes(task: Task) -> dict[str, int]:
    """Return {canonical name: axis} for all arrays that are cut; kernels have shape [in, out]."""
    axes = {}
    for pair in pairs(task):
        axes |= {f"{layer}.kernel": 1 for layer in pair.columns}
        axes |= {f"{layer}.bias": 0 for layer in pair.columns}
        axes[f"{pair.row}.kernel"] = 0
    return axes


def put_together(task: Task, parts: list[dict]) -> dict[str, np.ndarray]:
    """Return the whole weights, put together from `task.torch_arrays` of each rank."""
    axes = cut_axes(task)
    return {
        name: np.concatenate([part[name] for part in parts], axes[name]) if name in axes else array
        for name, array in parts[0].items()
    }


def dtensor_plan(task: Task) -> dict:
    """Return the plan for `parallelize_module`: a style for each layer of a pair, by its name."""
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        PrepareModuleOutput,
        RowwiseParallel,
    )

    styles = {}
    for pair in pairs(task):
        styles |= {name: ColwiseParallel() for name in pair.columns}
        styles[pair.row] = RowwiseParallel()
        if len(pair.columns) > 1:
            # Make one DTensor for query, key and value. Otherwise each layer would make its own and
            # sum its gradient separately.
            styles[f"{pair.first}.norm"] = PrepareModuleOutput(
                output_layouts=Replicate(),
                desired_output_layouts=Replicate(),
                use_local_output=False,
            )
    return styles


def all_reduces(task: Task, ranks: int, batch: int) -> tuple[int, int]:
    """Return (calls, bytes) of one step on all ranks: outputs forward, gradients backward."""
    sizes = [4 * batch * size for size in _sent_sizes(task)]
    return ranks * len(sizes), ranks * sum(sizes)


def _sent_sizes(task) -> Iterator[int]:
    for pair in pairs(task):
        yield prod(task.chain[pair.last].shape_out)
        if pair.first > 0:  # the gradient of the samples is not needed
            yield prod(task.chain[pair.first].shape_in)


def weight_bytes(task: Task, ranks: int) -> int:
    """Return the bytes of weights that one rank holds."""
    cut = cut_axes(task)
    return sum(
        4 * prod(shape) // (ranks if f"{number}.{layer.name}.{name}" in cut else 1)
        for number, block in enumerate(task.chain)
        for layer in block.layers
        for name, shape in layer.arrays.items()
    )


def live_bytes(task: Task, ranks: int, batch: int) -> int:
    """Return the most bytes that one rank holds: at the end of the forward pass or soon after it.

    At that time a rank holds weights, momentum, everything that the backward pass needs, and one of
    two things: the last step's gradients and the scores with their logarithms; or, after the
    backward pass has begun, the logarithms and two gradients of them.
    """
    weights = weight_bytes(task, ranks)
    scores = 4 * batch * prod(task.chain[-1].shape_out)
    kept = 4 * batch * sum(_kept_sizes(task, ranks))
    return 2 * weights + kept + 2 * scores + max(weights, scores)


def _kept_sizes(task, ranks) -> Iterator[int]:
    """Yield how many numbers of one sample are kept for the backward pass, block by block.

    The first item is the input of the first block.
    """
    yield prod(task.chain[0].shape_in)
    first_of_pair = {pair.first for pair in pairs(task)}
    for number, block in enumerate(task.chain):
        out = prod(block.shape_out)
        if block.kind == "dense":  # before and after GELU
            yield 2 * out // (ranks if number in first_of_pair else 1)
        elif block.kind == "attention":  # norm and sum; query, key, value, heads; attention weights
            heads = block.shape_out[-1] // HEAD_WIDTH
            tokens = block.shape_out[0]
            yield 2 * out + (4 * out + heads * tokens**2) // ranks
        elif block.kind == "feed_forward":  # norm and sum; four times the width, twice
            yield 2 * out + 8 * out // ranks
        elif block.kind == "embed":
            yield out
        elif block.kind == "head":  # its norm
            yield prod(block.shape_in)

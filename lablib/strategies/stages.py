"""Pipeline stages: micro-batches, the order of passes, and closed forms for messages and memory.

A pass is (kind, stage): "F" forward or "B" backward of the next micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from math import prod

import numpy as np

from lablib.tasks import Task

# What a dense block keeps of a sample for its backward pass, counted in copies of its output: the
# input of its GELU and the input of the next block. No closed form is known here for other kinds.
_KEPT = {"dense": 2, "logits": 1}


def why_not(task: Task, ranks: int, batch: int, micro_batches: int) -> str:
    """Return why the batch cannot be cut into this many micro-batches; "" if it can."""
    if not isinstance(micro_batches, int) or micro_batches < 1 or batch % micro_batches:
        # If micro-batches differed in size, the mean of their losses would not be the loss of the
        # batch.
        return f"it cannot be cut into {micro_batches!r} equal micro-batches"
    return ""


def passes(stage: int, pieces: int, ahead: int) -> list[tuple[str, int]]:
    """List the passes of a stage: first `ahead` forward passes, then forward and backward in turn.

    pieces    the number of micro-batches; if `ahead` is as large, all forward passes come first,
              as in GPipe

    >>> "".join(kind for kind, _ in passes(0, pieces=4, ahead=4))
    'FFFFBBBB'
    """
    return _in_turn([("F", stage)] * pieces, [("B", stage)] * pieces, ahead)


def interleaved(rank: int, ranks: int, turns: int, pieces: int) -> list[tuple[str, int]]:
    """List the passes of a rank that holds one stage of each turn, as in interleaved 1F1B.

    A round of micro-batches passes one of its stages, then the next one.

    >>> "".join(f"{kind}{stage} " for kind, stage in interleaved(1, ranks=2, turns=2, pieces=2))
    'F1 F1 F3 B3 F3 B3 B1 B1 '
    """
    a_round = pieces // max(1, pieces // ranks)
    order = [number // a_round % turns for number in range(turns * pieces)]
    forward = [("F", turn * ranks + rank) for turn in order]
    backward = [("B", (turns - 1 - turn) * ranks + rank) for turn in order]
    return _in_turn(forward, backward, (turns - 1) * a_round + 2 * (ranks - 1 - rank))


def _in_turn(forward, backward, ahead):
    late = forward[ahead:]
    pairs = zip(late, backward, strict=False)
    return [*forward[:ahead], *chain.from_iterable(pairs), *backward[len(late) :]]


def messages(task: Task, stages: int, batch: int, pieces: int) -> dict[str, tuple[int, int]]:
    """Return {name: (calls, bytes)} of one step on all ranks.

    Every micro-batch crosses every cut forward, and its gradient comes back.
    """
    crossed_bytes = sum(input_bytes(task, stage[0]) for stage in task.cut(stages)[1:])
    calls = 2 * (stages - 1) * pieces
    return {"send": (calls, 2 * crossed_bytes * batch), "recv": (calls, 0)}


def wire_bytes(task: Task, stages: int, ranks: int, batch: int) -> int:
    """Return the bytes that the link of the busiest rank carries in one step, in each direction."""
    return max(wire_bytes_by_rank(task, stages, ranks, batch))


def wire_bytes_by_rank(task: Task, stages: int, ranks: int, batch: int) -> list[int]:
    """Return the bytes that each rank's link carries in one step, in each direction.

    At the cut between two stages, the first rank sends activations and receives their gradient; the
    second rank does the reverse. Stage n is on rank n % ranks.
    """
    carried = [0] * ranks
    for number, blocks in enumerate(task.cut(stages)[1:], start=1):
        for stage in (number - 1, number):
            carried[stage % ranks] += input_bytes(task, blocks[0]) * batch
    return carried


def live_bytes(
    task: Task,
    cut: list[range],
    ranks: Iterable[list[tuple[str, int]]],
    piece: int,
    buffers: int = 0,
) -> float | None:
    """Return the most bytes that the fullest rank holds; None if a block is not dense.

    ranks     the passes of each rank, in order
    piece     samples of a micro-batch
    buffers   the number of micro-batches for which each stage keeps receive buffers
    """
    if any(getattr(block, "kind", "") not in _KEPT for block in task.chain):
        return None
    stages = [_Held(task, blocks, piece, buffers) for blocks in cut]
    return max(_fullest(stages, passes) for passes in ranks)


class _Held:
    """Bytes that a stage holds: always, for a kept micro-batch, and while it computes gradients."""

    def __init__(self, task, blocks, piece, buffers):
        held = [task.chain[number] for number in blocks]
        received = piece * input_bytes(task, blocks[0]) if blocks[0] else 0
        follows = blocks[-1] + 1 < task.blocks
        gradient = piece * input_bytes(task, blocks[-1] + 1) if follows else 0
        widths = [_KEPT[block.kind] * prod(block.shape_out) for block in held]
        self.weights = sum(block.weight_bytes for block in held)
        self.always = 2 * self.weights + buffers * (received + gradient)  # and the momentum
        self.kept = 4 * piece * sum(widths) + (0 if buffers else received)
        self.sent_back = received if buffers else 0
        # A weight's new gradient and the sum of its earlier gradients are held at the same time.
        self.beside = max(block.weight_bytes for block in held)
        self.working = 2 * 4 * piece * max(prod(block.shape_out) for block in held)
        self.working += 0 if buffers else gradient


def _fullest(stages, passes):
    mine = {stage for _, stage in passes}
    now = most = sum(stages[stage].always for stage in mine)
    summed = set()
    for kind, stage in passes:
        held = stages[stage]
        if kind == "F":
            now += held.kept
            most = max(most, now)
        else:
            most = max(most, now + held.working + (held.beside if stage in summed else 0))
            now += held.sent_back - held.kept + (0 if stage in summed else held.weights)
            summed.add(stage)
    return max(most, now)


def input_bytes(task: Task, block: int) -> int:
    """Return the bytes of the block's input for one sample."""
    into = task.chain[block]
    return prod(into.shape_in) * np.dtype(into.dtype_in).itemsize

"""Group gradients into buckets, each of which data parallelism sends in one message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lablib.tasks import Task

_MB = 1024 * 1024


def packed(sizes: Sequence[int], bucket_mb: float) -> list[list[int]]:
    """Return the numbers of the gradients in each bucket, in order.

    A bucket is closed as soon as it is full.

    sizes      bytes of each gradient
    bucket_mb  a bucket with at least this many MiB is full

    >>> packed([300_000, 300_000, 500_000], bucket_mb=0.5)
    [[0, 1], [2]]
    """
    buckets, held = [[]], 0
    for number, size in enumerate(sizes):
        if held >= bucket_mb * _MB:
            buckets, held = [*buckets, []], 0
        buckets[-1].append(number)
        held += size
    return buckets


def gradient_bytes(task: Task) -> list[int]:
    """Return the bytes of each gradient in the order of a backward pass: the last layer's first."""
    weights = [weight for weight in task.torch_model().parameters() if weight.requires_grad]
    return [weight.nbytes for weight in reversed(weights)]

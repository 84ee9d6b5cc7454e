"""Buckets: gradients that travel together, and what data parallelism sends with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lablib.tasks import Task

_MB = 1024 * 1024


def packed(sizes: Sequence[int], bucket_mb: float) -> list[list[int]]:
    """Which go into which bucket, in their order: one is closed as soon as it is full.

    sizes      bytes of each
    bucket_mb  a bucket is full from so many MiB on

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
    """Bytes of each gradient, in the order in which a backward pass yields them: the last first."""
    weights = [weight for weight in task.torch_model().parameters() if weight.requires_grad]
    return [weight.nbytes for weight in reversed(weights)]

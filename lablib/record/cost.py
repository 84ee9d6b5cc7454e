"""What one operation costs, wherever it runs."""

from __future__ import annotations

from typing import NamedTuple


class Cost(NamedTuple):
    """What one operation costs on any device.

    flops    floating point operations; a multiplication and an addition are two
    nbytes   read from and written to the device's memory
    count    how many such operations there were
    """

    flops: float
    nbytes: float = 0
    precision: str = "fp32"
    count: int = 1

"""What one operation costs, wherever it runs."""

from __future__ import annotations

from typing import NamedTuple

from lablib.record.bounds import Amount, Count, Name


class Cost(NamedTuple):
    """What one operation costs on any device.

    flops    floating point operations; a multiplication and an addition are two
    nbytes   read from and written to the device's memory
    count    how many such operations there were
    """

    flops: Amount
    nbytes: Amount = 0
    precision: Name = "fp32"
    count: Count = 1

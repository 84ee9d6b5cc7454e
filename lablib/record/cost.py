"""The cost of one operation, independent of the device."""

from __future__ import annotations

from typing import NamedTuple

from lablib.record.bounds import Amount, Count, Name


class Cost(NamedTuple):
    """The cost of one operation on any device.

    flops    floating point operations; a multiplication and an addition are two
    nbytes   bytes read from and written to the device's memory
    count    the number of such operations
    """

    flops: Amount
    nbytes: Amount = 0
    precision: Name = "fp32"
    count: Count = 1

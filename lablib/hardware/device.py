"""What computes: FLOP/s by precision, bytes/s of its memory, and how long one operation takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from lablib.errors import LabError
from lablib.units import (
    parse_bytes,
    parse_bytes_per_s,
    parse_flop_per_s,
    show_bytes,
    show_flop_per_s,
)

# From narrow to wide.
PRECISIONS = ("fp8", "fp16", "bf16", "tf32", "fp32", "fp64")
HOST = "host"


@dataclass(frozen=True)
class Device:
    """One processor and its memory.

    name           the name "host" stands for this computer: its operations take the CPU seconds
                   that the rank itself measured, not those of the roofline
    flop_per_s     peak rate by precision, such as {"fp32": "19.5 TFLOP/s", "bf16": 312e12}
    bytes_per_s    speed of its memory, such as "2039 GB/s"
    memory_bytes   how much it holds, such as "80 GB"

    Raises LabError for what cannot be read or is not above 0.

    >>> Device("t4", {"fp32": "8.1 TFLOP/s"}, "320 GB/s", "16 GB")
    Device t4: fp32 8.1 TFLOP/s; 320 GB/s, 16 GB
    """

    name: str
    flop_per_s: Mapping[str, float] = field(hash=False)
    bytes_per_s: float
    memory_bytes: float

    def __post_init__(self):
        rates = {precision: parse_flop_per_s(rate) for precision, rate in self.flop_per_s.items()}
        if not rates or set(rates) - set(PRECISIONS):
            raise LabError(
                "A device needs its FLOP/s, by precision.",
                saw=f"{self.name}: {', '.join(rates) or 'none'}",
                do=f"name them {', '.join(PRECISIONS)}, at least one",
            )
        values = {
            "flop_per_s": {name: rates[name] for name in PRECISIONS if name in rates},
            "bytes_per_s": parse_bytes_per_s(self.bytes_per_s),
            "memory_bytes": parse_bytes(self.memory_bytes),
        }
        for value in (*rates.values(), values["bytes_per_s"], values["memory_bytes"]):
            above_zero(f"device {self.name}", value)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def is_host(self) -> bool:
        """Whether it is this computer, whose operations take their own CPU seconds."""
        return self.name == HOST

    def rate(self, precision: str) -> float:
        """FLOP/s in this precision.

        A device that lacks it computes in the nearest wider one that it has; if it has none,
        in its widest (a TPU multiplies fp32 matrices in bf16).
        """
        if precision in self.flop_per_s:
            return self.flop_per_s[precision]
        if precision not in PRECISIONS:
            raise LabError(
                "There is no such precision.",
                saw=f"{precision!r} on {self.name}",
                do=f"choose one of {', '.join(PRECISIONS)}",
            )
        wider = PRECISIONS[PRECISIONS.index(precision) :]
        has = [name for name in wider if name in self.flop_per_s] or [[*self.flop_per_s][-1]]
        return self.flop_per_s[has[0]]

    def seconds(self, flops: float, nbytes: float, precision: str = "fp32") -> float:
        """How long one operation takes: max(flops / rate, nbytes / bytes_per_s).

        flops    floating point operations; a multiplication and an addition are two
        nbytes   bytes read from and written to the device's memory

        The roofline: Williams, Waterman, Patterson, "Roofline: an insightful visual performance
        model for multicore architectures", Communications of the ACM 52(4), 2009. It is a lower
        bound: peak rates, nothing for starting an operation.

        >>> Device("d", {"fp32": 1e9}, 1e6, 1e9).seconds(flops=3e9, nbytes=1e6)
        3.0
        """
        computing_s = flops / self.rate(precision) if flops else 0.0
        return max(computing_s, nbytes / self.bytes_per_s)

    def __repr__(self):
        rates = ", ".join(f"{p} {show_flop_per_s(rate)}" for p, rate in self.flop_per_s.items())
        memory = f"{show_bytes(self.bytes_per_s)}/s, {show_bytes(self.memory_bytes)}"
        return f"Device {self.name}: {rates}; {memory}"


def above_zero(what: str, value: float, *, or_zero: bool = False) -> float:
    """The value, if it is a number above 0 (infinity is one); otherwise LabError."""
    if math.isnan(value) or value < 0 or (value == 0 and not or_zero):
        raise LabError(
            f"A value of {what} is not {'0 or above' if or_zero else 'above 0'}.",
            saw=f"{value:g}",
            do="give a positive number with its unit",
        )
    return value

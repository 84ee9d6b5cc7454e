"""Devices: FLOP/s by precision, memory bandwidth, and how long one operation takes."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field

from lablib.errors import LabError
from lablib.units import (
    parse_bytes,
    parse_bytes_per_s,
    parse_flop_per_s,
    parse_s,
    show_bytes,
    show_flop_per_s,
    show_s,
)

# From narrow to wide.
PRECISIONS = ("fp8", "fp16", "bf16", "tf32", "fp32", "fp64")
HOST = "host"


@dataclass(frozen=True)
class Device:
    """One processor and its memory.

    name           the name "host" stands for this computer: its operations take the CPU seconds
                   that the rank itself measured, instead of the time from the roofline
    flop_per_s     peak rate by precision, such as {"fp32": "19.5 TFLOP/s", "bf16": 312e12}
    bytes_per_s    bandwidth of its memory, such as "2039 GB/s"
    memory_bytes   size of its memory, such as "80 GB"
    start_s        the least time of an operation, such as "5 us". Frameworks start operations one
                   by one, and on a fast device small operations wait for that. 0: no such wait

    Raises LabError if a value cannot be read or is not above 0.

    >>> Device("t4", {"fp32": "8.1 TFLOP/s"}, "320 GB/s", "16 GB")
    Device t4: fp32 8.1 TFLOP/s; 320 GB/s, 16 GB
    """

    name: str
    flop_per_s: Mapping[str, float] = field(hash=False)
    bytes_per_s: float
    memory_bytes: float
    start_s: float = 0.0

    def __post_init__(self):
        check_name("device", self.name)
        given = self.flop_per_s
        if not isinstance(given, Mapping) or not given or set(given) - set(PRECISIONS):
            raise LabError(
                "A device needs its FLOP/s for each precision.",
                saw=f"{self.name}: {given!r}",
                do="give at least one, such as {'fp32': '8.1 TFLOP/s'}; the precisions are "
                f"{', '.join(PRECISIONS)}",
            )
        rates = {precision: parse_flop_per_s(rate) for precision, rate in given.items()}
        values = {
            "flop_per_s": {name: rates[name] for name in PRECISIONS if name in rates},
            "bytes_per_s": parse_bytes_per_s(self.bytes_per_s),
            "memory_bytes": parse_bytes(self.memory_bytes),
            "start_s": parse_s(self.start_s),
        }
        above_zero(f"start_s of device {self.name}", values["start_s"], or_zero=True)
        sizes = {name: values[name] for name in ("bytes_per_s", "memory_bytes")}
        for name, value in (rates | sizes).items():
            above_zero(f"{name} of device {self.name}", value)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def is_host(self) -> bool:
        """True if this is the user's computer, whose operations take their measured CPU seconds."""
        return self.name == HOST

    def rate(self, precision: str) -> float:
        """Return the FLOP/s in this precision.

        A device without this precision computes in the next wider one that it has, or, if there is
        none, in its widest (a TPU multiplies fp32 matrices in bf16).
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
        """Return how long one operation takes: max(flops / rate, nbytes / bytes_per_s, start_s).

        flops    floating point operations; a multiplication and an addition are two
        nbytes   bytes read from and written to the device's memory

        This is the roofline: Williams, Waterman, Patterson, "Roofline: an insightful visual
        performance model for multicore architectures", Communications of the ACM 52(4), 2009. It is
        a lower bound, because it uses peak rates. Raises LabError if an argument is not a number of
        at least 0.

        >>> Device("d", {"fp32": 1e9}, 1e6, 1e9).seconds(flops=3e9, nbytes=1e6)
        3.0
        """
        if not is_amount(flops) or not is_amount(nbytes):
            raise LabError(
                "The FLOPs and the bytes of an operation must be numbers of at least 0.",
                saw=f"flops={flops!r}, nbytes={nbytes!r}",
                do="give, for example, flops=2e9, nbytes=4e6",
            )
        computing_s = flops / self.rate(precision) if flops else 0.0
        return max(computing_s, nbytes / self.bytes_per_s, self.start_s)

    def __repr__(self):
        rates = ", ".join(f"{p} {show_flop_per_s(rate)}" for p, rate in self.flop_per_s.items())
        memory = f"{show_bytes(self.bytes_per_s)}/s, {show_bytes(self.memory_bytes)}"
        start = f"; at least {show_s(self.start_s)} an operation" if self.start_s else ""
        return f"Device {self.name}: {rates}; {memory}{start}"


def check_name(what: str, name: object) -> None:
    """Raise LabError if this is not a name."""
    if not isinstance(name, str) or not name:
        raise LabError(
            f"The name of a {what} must be a text.",
            saw=f"name={name!r}",
            do='write, for example, "mine"',
        )


def is_amount(value: object) -> bool:
    """Return whether it is a finite number of at least 0."""
    kind = type(value)  # the usual types come first, because testing for `Real` takes longer
    number = kind is int or kind is float or (kind is not bool and isinstance(value, numbers.Real))
    return number and 0 <= value < math.inf


def above_zero(what: str, value: float, *, or_zero: bool = False) -> float:
    """Return the value if it is a number above 0 (also infinity); otherwise raise LabError."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or math.isnan(value) or value < 0 or (value == 0 and not or_zero):
        raise LabError(
            f"{what} must be {'0 or above' if or_zero else 'above 0'}.",
            saw=f"{value:g}" if number else repr(value),
            do="give a positive number with its unit",
        )
    return value

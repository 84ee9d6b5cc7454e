"""Print and parse quantities: seconds, bytes, bits per second, FLOP per second.

All of the kit uses these functions. Memory is usually given in binary units (KiB, MiB) and traffic
in decimal ones (kB, MB). The kit prints decimal units everywhere, so that readers can divide a size
by a speed in their heads.
"""

from __future__ import annotations

import math
import re

from lablib.errors import LabError

_PREFIX = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_TIME = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_QUANTITY = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([^\s0-9].*?)\s*$")


def show_s(seconds: float) -> str:
    """Format seconds with a suitable unit.

    >>> show_s(0.0042), show_s(90)
    ('4.2 ms', '90 s')
    """
    if not math.isfinite(seconds):
        return "–"
    size = abs(seconds)
    for unit, below in (("ns", 1e-6), ("us", 1e-3), ("ms", 1.0)):
        if size < below:
            return f"{_three(seconds / _TIME[unit])} {unit}"
    return f"{_three(seconds)} s"


def show_bytes(nbytes: float) -> str:
    """Format bytes with a decimal prefix.

    >>> show_bytes(8_000_000), show_bytes(0)
    ('8 MB', '0 B')
    """
    return _prefixed(nbytes, "B")


def show_flop_per_s(rate: float) -> str:
    """Format a rate of floating-point operations with a decimal prefix.

    >>> show_flop_per_s(19.5e12)
    '19.5 TFLOP/s'
    """
    return _prefixed(rate, "FLOP/s")


def parse_s(text: str | float) -> float:
    """Read seconds from "50 us", "2 min" or a plain number of seconds.

    >>> parse_s("2 ms")
    0.002
    """
    return _parse(text, _TIME, "a time such as '50 us' or '2 ms'")


def parse_bytes(text: str | float) -> float:
    """Read bytes from "8 MB", "16 GiB" or a plain number of bytes."""
    return _parse(text, _scaled("B") | _binary("B"), "a size such as '8 MB' or '16 GiB'")


def parse_bytes_per_s(text: str | float) -> float:
    """Read bytes per second from "10 Gbit/s", "900 GB/s" or a plain number.

    >>> parse_bytes_per_s("10 Gbit/s")
    1250000000.0
    """
    bits = {unit: size / 8 for unit, size in _scaled("bit/s").items()}
    return _parse(text, bits | _scaled("B/s"), "a speed such as '10 Gbit/s' or '900 GB/s'")


def parse_flop_per_s(text: str | float) -> float:
    """Read FLOP per second from "312 TFLOP/s" or a plain number."""
    return _parse(text, _scaled("FLOP/s"), "a rate such as '312 TFLOP/s'")


def _parse(text, units, example):
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text)
    found = _QUANTITY.match(str(text))
    if not found or found[2] not in units:
        raise LabError("This quantity cannot be read.", saw=repr(text), do=f"write {example}")
    return float(found[1]) * units[found[2]]


def _scaled(unit):
    return {prefix + unit: factor for prefix, factor in _PREFIX.items()}


def _binary(unit):
    return {f"{p}i{unit}": 1024.0**n for n, p in enumerate("KMGT", start=1)}


def _prefixed(number, unit):
    if not math.isfinite(number):
        return "–"
    for prefix in ("P", "T", "G", "M", "k"):
        if abs(number) >= _PREFIX[prefix]:
            return f"{_three(number / _PREFIX[prefix])} {prefix}{unit}"
    return f"{_three(number)} {unit}"


def _three(number):
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"

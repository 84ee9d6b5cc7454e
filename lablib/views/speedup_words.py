"""Write a measured speed-up with its range; a range that includes 1 shows no difference."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lablib.record.repeated import MEASURED_ONCE, NO_DIFFERENCE

NO_FINDING = "≈ 1"
RULE = f"{NO_FINDING} means that the range includes 1: this measurement shows no difference."


def has_range(row: Mapping) -> bool:
    """Return whether a row's speed-up has a range that is worth showing."""
    low = row.get("speedup_low", math.nan)
    high = row.get("speedup_high", math.nan)
    return low < high


def speedup(row: Mapping) -> str:
    """Return a row's speed-up with its range.

    >>> speedup({"speedup": 1.4, "speedup_low": 1.2, "speedup_high": 1.6, "finding": "faster"})
    '1.4 (1.2 to 1.6)'
    >>> row = {"speedup": 1.1, "speedup_low": 0.9, "speedup_high": 1.3}
    >>> speedup(row | {"finding": "no difference"})
    '≈ 1 (0.9 to 1.3)'
    >>> speedup({"speedup": 1.1, "finding": "measured once"}), speedup({"speedup": 1.1})
    ('1.1 (once)', '1.1')
    """
    if math.isnan(row["speedup"]):
        return "–"
    if row.get("finding") == MEASURED_ONCE:
        return f"{row['speedup']:.3g} (once)"
    if not has_range(row):
        return f"{row['speedup']:.3g}"
    shown = NO_FINDING if row["finding"] == NO_DIFFERENCE else f"{row['speedup']:.3g}"
    return f"{shown} ({row['speedup_low']:.3g} to {row['speedup_high']:.3g})"


def efficiency(row: Mapping) -> str:
    """Return a row's efficiency, or its range if the speed-up shows no difference.

    If that range includes 100 %, return "≈ 100%".

    >>> row = {"ranks": 2, "efficiency": 0.7, "speedup_low": 1.2, "speedup_high": 1.6}
    >>> efficiency(row | {"finding": "faster"})
    '70%'
    >>> efficiency(row | {"ranks": 1, "speedup_low": 0.9, "finding": "no difference"})
    '≈ 100%'
    >>> efficiency({"ranks": 1, "efficiency": 1.19, "finding": "measured once"})
    '119% (once)'
    """
    if math.isnan(row["efficiency"]):
        return "–"
    if row.get("finding") == MEASURED_ONCE:
        return f"{row['efficiency']:.0%} (once)"
    if not has_range(row):
        return f"{row['efficiency']:.0%}"
    low = row["speedup_low"] / row["ranks"]
    high = row["speedup_high"] / row["ranks"]
    if low <= 1 <= high:
        return "≈ 100%"
    if row["finding"] == NO_DIFFERENCE:
        return f"{low:.0%} to {high:.0%}"
    return f"{row['efficiency']:.0%}"

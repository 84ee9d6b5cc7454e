"""Compare rates that were measured several times: their ratio, its range, and what it shows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from lablib.record import metrics

NAN = math.nan
FASTER = "faster"
SLOWER = "slower"
NO_DIFFERENCE = "no difference"
MEASURED_ONCE = "measured once"


class Speedup(NamedTuple):
    """The speed-up over one process, from repeated measurements.

    median    the median of the ratios of measurements that follow one another
    low, high    the smallest and the largest ratio of any two measurements, one of each kind; NaN
                 if there is only one of each, because then the range is unknown
    finding   FASTER or SLOWER if the whole range is above or below 1, else NO_DIFFERENCE;
              MEASURED_ONCE without a range; "" if the speed-up itself is unknown
    """

    median: float
    low: float
    high: float
    finding: str


ONE = Speedup(1.0, 1.0, 1.0, "")  # of one process over itself


def speedup(rates: Sequence[float], single_rates: Sequence[float], exact: bool = False) -> Speedup:
    """Compare rates with those of one process, measured in the same rounds.

    exact   the rates are computed, not measured, so that one of each is enough

    The range covers all pairs, and not only those of the same round. With three rounds, pairs of
    the same round would all lie on one side of 1 in a quarter of the cases without any
    difference; all pairs do so in a tenth.

    >>> speedup([150.0, 160.0, 140.0], [100.0, 80.0, 100.0])
    Speedup(median=1.5, low=1.4, high=2.0, finding='faster')
    >>> speedup([150.0, 90.0, 100.0], [100.0, 80.0, 100.0]).finding
    'no difference'
    """
    ratios = [metrics.speedup(*pair) for pair in zip(rates, single_rates, strict=True)]
    if not ratios or any(map(math.isnan, ratios)):
        return Speedup(NAN, NAN, NAN, "")
    median = statistics.median(ratios)
    if len(ratios) == 1 and not exact:
        return Speedup(median, NAN, NAN, MEASURED_ONCE)
    low = min(rates) / max(single_rates)
    high = max(rates) / min(single_rates)
    if low <= 1 <= high:
        return Speedup(median, low, high, NO_DIFFERENCE)
    return Speedup(median, low, high, FASTER if low > 1 else SLOWER)

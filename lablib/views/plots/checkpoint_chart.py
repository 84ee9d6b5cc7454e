"""How much of a run is useful, by the interval between checkpoints and the rate of failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lablib.errors import LabError
from lablib.views import palette

if TYPE_CHECKING:
    from lablib.views.picture import Picture

_TITLE = "Useful share of a run by checkpoint interval (modelled)"
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#1a1a1a")
_TICKS_S = (1, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)


def useful_shares(
    shares: Mapping[str, Mapping[float, float]], best_s: Mapping[str, float] | None = None
) -> Picture:
    """Plot the useful share against the checkpoint interval, one curve for each failure rate.

    shares   label, such as "a failure every 3 h" -> interval in seconds -> useful share, 0 to 1,
             as `lab.interruptions.useful_share` returns it
    best_s   label -> the best interval in seconds by a formula, drawn as a dashed line

    Raises LabError if there is no share.
    """
    from matplotlib.ticker import FixedLocator, NullLocator

    from lablib.views.picture import blank, drawing, plain

    curves = {label: dict(sorted(curve.items())) for label, curve in shares.items() if curve}
    if not curves:
        raise LabError(
            "There is no useful share to draw.",
            saw=repr(shares),
            do='pass {"a failure every 3 h": {600: 0.91, 1200: 0.92}}',
        )
    best_s = best_s or {}
    with drawing():
        picture = blank(9, 3.8)
        axes = picture.subplots()
        for number, (label, curve) in enumerate(curves.items()):
            color = _COLORS[number % len(_COLORS)]
            marker = palette.MARKERS[number % len(palette.MARKERS)]
            percent = [100 * share for share in curve.values()]
            axes.plot(curve.keys(), percent, marker=marker, color=color, label=plain(label))
            if label in best_s:
                axes.axvline(best_s[label], color=color, linestyle=palette.DASHES[1], linewidth=1)
        if best_s:
            look = dict(color=palette.TEXT, linestyle=palette.DASHES[1], linewidth=1)
            axes.plot([], [], label="best by the formula", **look)
        axes.set(xscale="log", ylim=(0, 100), ylabel="useful share [%]")
        axes.set(xlabel="training time between two checkpoints")
        axes.xaxis.set_major_locator(FixedLocator(_TICKS_S))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda seconds, _: _time(seconds))
        axes.grid()
        axes.set_title(_TITLE, loc="left")
        picture.legend(loc="outside right upper")
    picture.alt = f"{_TITLE}. {' '.join(_described(*item, best_s) for item in curves.items())}"
    return picture


def _described(label, curve, best_s):
    interval = max(curve, key=curve.get)
    formula = f"; best by the formula at {_time(best_s[label])}" if label in best_s else ""
    return f"{label}: at most {100 * curve[interval]:.1f} %, at {_time(interval)}{formula}."


def _time(seconds):
    """Format seconds in the largest unit of which there is at least one.

    >>> _time(900), _time(5400)
    ('15 min', '1.5 h')
    """
    for unit, size_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size_s:
            return f"{seconds / size_s:.3g} {unit}"
    return f"{seconds:.3g} s"

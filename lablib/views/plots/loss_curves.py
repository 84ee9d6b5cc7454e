"""Draw loss curves. Curves that look the same are drawn once and labelled as equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING

from lablib import frameworks
from lablib.views import palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EQUAL = 0.01
_MOST_NAMED = 6


def draw_losses(axes: Axes, losses: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """Draw loss by step, one curve for each group of labels that agree; return the groups.

    Curves agree if they are equally long and differ by at most 1 % of the loss at every step. A
    curve ends where it becomes infinite or NaN.
    """
    from lablib.views.picture import plain

    groups = agreeing(losses)
    for number, group in enumerate(groups):
        curve = losses[group[0]]
        axes.plot(
            range(len(curve)),
            curve,
            color=framework_color(group),
            linestyle=palette.DASHES[number % len(palette.DASHES)],
            marker=palette.MARKERS[number % len(palette.MARKERS)],
            markevery=max(1, len(curve) // 8),
            markersize=5,
            label=plain(_describe_curves(group)) if number < _MOST_NAMED else "_",
        )
    axes.set(title="Loss by step", xlabel="step", ylabel="loss")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid()
    _keep_others_readable(axes, losses)
    if groups:
        more = len(groups) - _MOST_NAMED
        title = f"and {more} more, not named" if more > 0 else None
        axes.legend(title=title, frameon=True, edgecolor=palette.GRID)
    return groups


def _keep_others_readable(axes, losses):
    """Limit the axis: a run that diverges leaves the panel instead of flattening the others."""
    firsts = [curve[0] for curve in losses.values() if len(curve) and isfinite(curve[0])]
    ceiling = 2 * max(firsts, default=0.0)
    if 0 < ceiling < axes.get_ylim()[1]:
        axes.set_ylim(top=ceiling)


def agreeing(losses: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """Return groups of labels whose curves look the same, in the given order.

    >>> agreeing({"a": [2.0, 1.0], "b": [2.001, 1.0], "c": [2.0, 1.5]})
    [['a', 'b'], ['c']]
    """
    groups: list[list[str]] = []
    for label, curve in losses.items():
        alike = next((group for group in groups if _agree(losses[group[0]], curve)), None)
        if alike is None:
            groups.append([label])
        else:
            alike.append(label)
    return groups


def _agree(a, b):
    # This form, and not its negation, makes NaN agree with nothing.
    return len(a) == len(b) and all(
        abs(x - y) <= _EQUAL * max(abs(x), abs(y)) for x, y in zip(a, b, strict=True)
    )


def _describe_curves(group):
    named = " = ".join(group)
    if len(group) == 1 or len(group) == 2 and len(named) < 40:
        return named
    return f"{len(group)} runs, equal within {_EQUAL:.0%}"


def framework_color(group: Sequence[str]) -> str:
    """Return the framework's colour if all labels name the same one, otherwise a neutral colour."""
    named = {word for label in group for word in frameworks.NAMES if word in label}
    return palette.framework(named.pop() if len(named) == 1 else "").color

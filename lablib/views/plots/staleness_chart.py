"""How old gradients affect the loss in asynchronous training, by their staleness."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lablib.errors import LabError
from lablib.views import palette

if TYPE_CHECKING:
    from lablib.views.picture import Picture

_MOST_MARKERS = 8
_LAST = 10  # the final loss is the mean of this many last steps, because single steps are noisy


def staleness(losses: Mapping[float, Sequence[float]], of: str = "steps") -> Picture:
    """Plot loss by step, one curve for each staleness, and the final loss against the staleness.

    losses   staleness -> loss of each step; 0 is synchronous, `math.inf` has no bound
    of       the unit in which staleness is counted

    The final loss is the mean of the last 10 steps. Losses are always measured. A curve that
    becomes infinite or NaN ends there, and its final loss is drawn as a cross at the top.
    Raises LabError if there is no loss.
    """
    from lablib.views.picture import blank, drawing

    curves = {bound: list(losses[bound]) for bound in sorted(losses) if len(losses[bound])}
    if not curves:
        raise LabError(
            "There is no loss to draw.",
            saw=repr(losses),
            do="pass {0: [2.3, 1.9], 4: [2.3, 2.1]}: the losses by staleness",
        )
    title = "Loss against staleness (measured)"
    with drawing():
        picture = blank(9, 3.8)
        left, right = picture.subplots(1, 2, sharey=True)
        ceiling, finals = (
            _ceiling(curves),
            {bound: _final(curve) for bound, curve in curves.items()},
        )
        _draw_curves(left, curves)
        _draw_finals(right, finals, ceiling)
        lowest = min(loss for curve in curves.values() for loss in curve if loss <= ceiling)
        left.set_ylim(min(0.0, lowest), min(ceiling, left.get_ylim()[1]))
        left.set(title="Loss by step", xlabel="step", ylabel="loss")
        above = " (x: above)" if any(not final <= ceiling for final in finals.values()) else ""
        right.set(title=f"Mean of the last {_LAST} steps{above}", xlabel=f"staleness [{of}]")
        picture.suptitle(title, x=0.01, ha="left", size=11, weight="bold")
        picture.legend(loc="outside right upper", title=f"staleness\n[{of}]", title_fontsize=9)
    description = "; ".join(
        f"{_named(bound)}: from {curve[0]:.4g} to {finals[bound]:.4g} in {len(curve)} steps"
        for bound, curve in curves.items()
    )
    picture.alt = (
        f"{title}. By staleness in {of}, to the mean of the last {_LAST} steps, {description}."
    )
    return picture


def _draw_curves(axes, curves):
    for number, (bound, curve) in enumerate(curves.items()):
        shown = [loss if math.isfinite(loss) else math.nan for loss in curve]
        axes.plot(
            range(len(curve)),
            shown,
            color=_shade(number, len(curves)),
            linewidth=1.5,
            marker=palette.MARKERS[number % len(palette.MARKERS)],
            markevery=max(1, len(curve) // _MOST_MARKERS),
            markersize=5,
            label=_named(bound),
        )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid()


def _draw_finals(axes, finals, ceiling):
    """Draw the final losses, evenly spaced: bounds mostly double, and "no bound" has no number."""
    places = list(enumerate(finals.values()))
    known = [(place, final) for place, final in places if final <= ceiling]
    for xs, losses in [zip(*known, strict=True)] if known else []:
        axes.plot(xs, losses, color=palette.TEXT, linewidth=1)
    for place, final in places:
        lost = not final <= ceiling
        axes.plot(
            place,
            0.96 if lost else final,
            "x" if lost else palette.MARKERS[place % len(palette.MARKERS)],
            color=_shade(place, len(finals)),
            markeredgecolor=palette.TEXT,
            markersize=7,
            transform=axes.get_xaxis_transform() if lost else axes.transData,
        )
    axes.set_xticks(range(len(finals)), map(_named, finals))
    axes.set_xlim(-0.5, len(finals) - 0.5)
    axes.grid()


def _final(curve):
    last = curve[-_LAST:]
    return sum(last) / len(last)


def _ceiling(curves):
    """Return the upper end of the axis, so that runs that diverge do not flatten the others."""
    firsts = [curve[0] for curve in curves.values() if math.isfinite(curve[0])]
    return 1.5 * max(firsts, default=1.0)


def _shade(number, count):
    """Return a shade from dark, for new gradients, to light, for old ones."""
    from matplotlib.colors import to_hex

    return to_hex([0.1 + 0.6 * number / max(1, count - 1)] * 3)


def _named(bound):
    return f"{bound:g}" if bound < math.inf else "no bound"

"""Speed-up and efficiency by number of ranks, beside the ideal and the two laws of scaling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lablib.errors import LabError
from lablib.record import metrics
from lablib.views import palette
from lablib.views.plots.loss_curves import framework_color

if TYPE_CHECKING:
    from lablib.views.picture import Picture

_LINEAR_UP_TO = 8
_LAW_DASHES = {"Amdahl": (0, (6, 2)), "Gustafson": (0, (6, 2, 1, 2))}


def scaling(
    speedups: Mapping[str, Mapping[int, float]],
    clock: str | Mapping[str, str] = "measured",
    *,
    amdahl: float | None = None,
    gustafson: float | None = None,
) -> Picture:
    """Plot speed-up and efficiency by number of ranks: one curve for each label, the ideal dotted.

    speedups    label -> {ranks: speed-up over one rank}; for weak scaling, the scaled speed-up
    clock       "measured" or "modelled", for all curves or by label
    amdahl, gustafson    a serial share, 0 to 1; the law of that name (`record.metrics`) is drawn

    Beyond 8 ranks, both axes of the speed-up are logarithmic. A label that contains "torch" or
    "tensorflow" gives its curve that framework's colour; modelled curves are dashed. Raises
    LabError if there is no curve, or if a share is not between 0 and 1.
    """
    from lablib.views.picture import blank, drawing

    _check(speedups, amdahl, gustafson)
    clocks = {label: clock if isinstance(clock, str) else clock[label] for label in speedups}
    ranks = sorted({count for curve in speedups.values() for count in curve})
    laws = dict(_laws(amdahl, gustafson))
    title = f"Scaling over ranks ({' and '.join(sorted(set(clocks.values())))})"
    with drawing():
        picture = blank(9, 3.7 + 0.2 * math.ceil((len(speedups) + len(laws) + 1) / 3))
        left, right = picture.subplots(1, 2)
        handles = _draw_curves(left, right, speedups, clocks)
        handles |= _draw_references(left, right, ranks, laws)
        _set_axes(left, right, ranks)
        picture.suptitle(title, x=0.01, ha="left", size=11, weight="bold")
        picture.legend(handles.values(), handles, loc="outside lower center", ncols=3)
    picture.alt = f"{title}. {_alt_text(speedups, clocks)}{_describe_laws(laws, max(ranks))}"
    return picture


def _check(speedups, amdahl, gustafson):
    if not any(speedups.values()):
        raise LabError(
            "There is no speed-up to draw.",
            saw=repr(speedups),
            do='pass {"ddp": {1: 1.0, 2: 1.9}}: the speed-up by number of ranks',
        )
    for name, share in (("amdahl", amdahl), ("gustafson", gustafson)):
        if share is not None and not 0 <= share <= 1:
            raise LabError(
                "A serial share must be between 0 and 1.",
                saw=f"{name}={share!r}",
                do=f"write, for example, {name}=0.05",
            )


def _laws(amdahl, gustafson):
    """Yield (name, dashes, function from ranks to speed-up) of each chosen law."""
    for name, share, law in (
        ("Amdahl", amdahl, metrics.amdahl_speedup),
        ("Gustafson", gustafson, metrics.gustafson_speedup),
    ):
        if share is not None:
            words = f"{name}'s law, serial share {share:.3g}"
            yield words, (_LAW_DASHES[name], lambda n, law=law, share=share: law(share, n))


def _draw_curves(left, right, speedups, clocks):
    from lablib.views.picture import plain

    handles = {}
    for number, (label, curve) in enumerate(speedups.items()):
        counts = sorted(curve)
        color = framework_color([label])
        if color == palette.NEUTRAL.color:
            color = palette.SHADES[number % len(palette.SHADES)]
        look = dict(
            color=color,
            linestyle=palette.CLOCK_LINE[clocks[label]],
            marker=palette.MARKERS[number % len(palette.MARKERS)],
            markersize=6,
            markeredgecolor=palette.TEXT,
            markeredgewidth=0.5,
        )
        several = len(set(clocks.values())) > 1
        words = f"{label}, {clocks[label]}" if several else label
        handles[plain(words)] = left.plot(counts, [curve[n] for n in counts], **look)[0]
        right.plot(counts, [100 * metrics.efficiency(curve[n], n) for n in counts], **look)
    return handles


def _draw_references(left, right, ranks, laws):
    """Draw the ideal and the laws, with a point for every whole number of ranks."""
    handles = {}
    dense = range(min(ranks), max(ranks) + 1)
    for words, (dashes, law) in laws.items():
        look = dict(color=palette.IDEAL.color, linestyle=dashes, linewidth=1.2, zorder=1)
        handles[words] = left.plot(dense, [law(n) for n in dense], **look)[0]
        right.plot(dense, [100 * law(n) / n for n in dense], **look)
    look = dict(color=palette.IDEAL.color, linestyle=":", zorder=1)
    handles["ideal"] = left.plot(ranks, ranks, **look)[0]
    right.plot(ranks, [100] * len(ranks), **look)
    return handles


def _set_axes(left, right, ranks):
    wide = max(ranks) > _LINEAR_UP_TO
    if wide:
        left.set_yscale("log", base=2)
        left.yaxis.set_major_formatter("{x:g}")
    else:
        left.set_ylim(bottom=0)
    for axes in (left, right):
        if wide:
            axes.set_xscale("log", base=2)
        shown = [n for n in ranks if not wide or n & (n - 1) == 0] or ranks
        axes.set_xticks(shown, [str(count) for count in shown])
        axes.minorticks_off()
        axes.set_xlabel("ranks")
        axes.grid()
    left.set(title="Speed-up", ylabel="times one rank")
    right.set(title="Efficiency", ylabel="% of the ideal")
    right.set_ylim(0, max(108, right.get_ylim()[1]))


def _alt_text(speedups, clocks):
    def describe_curve(label, curve):
        points = ", ".join(
            f"{curve[n]:.2f} on {n} ({metrics.efficiency(curve[n], n):.0%} efficient)"
            for n in sorted(curve)
        )
        return f"{label} ({clocks[label]}): {points}."

    return " ".join(describe_curve(label, curve) for label, curve in speedups.items())


def _describe_laws(laws, most):
    return "".join(f" {words}: {law(most):.2f} on {most}." for words, (_, law) in laws.items())

"""The roofline of a device, and operations whose limit is arithmetic, memory or their start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lablib.errors import LabError
from lablib.hardware.device import Device
from lablib.hardware.hardware import Hardware
from lablib.record.cost import Cost
from lablib.units import show_bytes, show_flop_per_s
from lablib.views import palette

if TYPE_CHECKING:
    from lablib.views.picture import Picture

_MOST = 10


def roofline(
    device: Device | str,
    operations: Mapping[str, Cost],
    seconds: Mapping[str, float] | None = None,
) -> Picture:
    """Plot the FLOP/s that operations can reach against their FLOPs per byte, one point for each.

    device       a Device, or the name of one
    operations   label -> its `lablib.record.cost.Cost`; the roof is that of their precision
    seconds      label -> measured seconds; the other operations get the time of the device's
                 model, so they are on the roof, or below it if their start takes longer

    Modelled points are hollow, and measured points are full. There can be at most 10 operations,
    all in one precision. Raises LabError otherwise, and for an operation without FLOPs or bytes.
    Williams, Waterman, Patterson, "Roofline", Communications of the ACM 52(4), 2009.
    """
    from lablib.views.picture import blank, drawing

    precision = _check(operations)
    device, seconds = Hardware(device).device, seconds or {}
    rate, speed = device.rate(precision), device.bytes_per_s
    points = {
        label: (cost.flops / cost.nbytes, cost.flops / _seconds(device, label, cost, seconds))
        for label, cost in operations.items()
    }
    clocks = {"measured" if label in seconds else "modelled" for label in operations}
    told_clock = " and ".join(sorted(clocks | {"modelled"}))
    title = f"Roofline of {device.name}, {precision} ({told_clock})"
    with drawing():
        picture = blank(9, 4.2)
        axes = picture.subplots()
        _draw_roof(axes, rate, speed, [intensity for intensity, _ in points.values()])
        for number, (label, point) in enumerate(points.items()):
            _draw_point(axes, number, label, point, label in seconds)
        axes.set(
            xlabel="FLOPs a byte of memory traffic", ylabel="FLOP/s", xscale="log", yscale="log"
        )
        axes.yaxis.set_major_formatter(lambda value, _: show_flop_per_s(value))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.grid()
        axes.set_title(title, loc="left")
        picture.legend(loc="outside right upper")
    description = "; ".join(
        _describe_point(label, *point, rate, speed, label in seconds)
        for label, point in points.items()
    )
    limits = f"{show_flop_per_s(rate)} from {rate / speed:.3g} FLOPs a byte on"
    picture.alt = f"{title}: {limits}, {show_bytes(speed)}/s below. {description}."
    return picture


def _check(operations):
    precisions = sorted({cost.precision for cost in operations.values()})
    if not 1 <= len(operations) <= _MOST or len(precisions) != 1:
        raise LabError(
            "These operations do not fit on one roofline.",
            saw=f"{len(operations)} operations in {', '.join(precisions) or 'none'}",
            do=f"pass 1 to {_MOST} operations of one precision",
        )
    for label, cost in operations.items():
        if not (cost.flops > 0 and cost.nbytes > 0):
            raise LabError(
                "An operation on a roofline needs FLOPs and bytes.",
                saw=f"{label}: {cost}",
                do="pass Cost(flops, nbytes) with both above 0",
            )
    return precisions.pop()


def _seconds(device, label, cost, seconds):
    if label in seconds:
        return seconds[label]
    return device.seconds(cost.flops, cost.nbytes, cost.precision)


def _draw_roof(axes, rate, speed, intensities):
    ridge = rate / speed
    left = min([*intensities, ridge]) / 4
    right = max([*intensities, ridge]) * 4
    roof = dict(color=palette.TEXT, linewidth=2)
    axes.plot([left, ridge], [left * speed, rate], label="memory is the limit", **roof,
              linestyle=(0, (4, 2)))  # fmt: skip
    axes.plot([ridge, right], [rate, rate], label="arithmetic is the limit", **roof)
    axes.set_xlim(left, right)


def _draw_point(axes, number, label, point, measured):
    from lablib.views.picture import plain

    shade = palette.SHADES[number % len(palette.SHADES)]
    clock = "measured" if measured else "modelled"
    axes.plot(*point, palette.MARKERS[number], markersize=9, markeredgewidth=1.6, linestyle="none",
              markerfacecolor=palette.COMPUTE.color if measured else palette.PAPER,
              markeredgecolor=shade, label=plain(f"{label}, {clock}"), zorder=4)  # fmt: skip


def _describe_point(label, intensity, reached, rate, speed, measured):
    limit = "memory" if intensity * speed < rate else "arithmetic"
    share = reached / min(rate, intensity * speed)
    clock = "measured" if measured else "modelled"
    return (
        f"{label} ({clock}): {intensity:.3g} FLOPs a byte, {show_flop_per_s(reached)}, "
        f"{share:.0%} of what {limit} allows"
    )

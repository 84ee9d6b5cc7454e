"""The memory ledger: the parts of a rank's memory, compared with the memory of its device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lablib.errors import LabError
from lablib.hardware.device import Device
from lablib.hardware.hardware import Hardware
from lablib.units import show_bytes
from lablib.views import palette

if TYPE_CHECKING:
    from lablib.views.picture import Picture

PARTS = {
    "weights": palette.WEIGHTS,
    "gradients": palette.GRADIENTS,
    "optimizer": palette.OPTIMIZER,
    "activations": palette.ACTIVATIONS,
}
_WRITTEN_FROM = 0.075  # share of the axis from which a part has space for its size


def ledger(
    held: Mapping[str, Mapping[str, float]],
    device: Device | str | None = None,
    clock: str = "modelled",
) -> Picture:
    """Plot a row for each label: bytes of weights, gradients, optimizer state and activations.

    held     label -> bytes by part, of one rank (the one that uses the most, or one row for each
             rank); the parts are "weights", "gradients", "optimizer", "activations", and missing
             parts are 0
    device   a Device, or a name in the catalog such as "a100": a line shows its memory, and rows
             that do not fit say so. None: no line
    clock    "modelled" if the bytes follow from formulas, "measured" if they were counted

    Raises LabError if there is nothing to draw, or if a part has another name.
    """
    from lablib.views.picture import blank, drawing

    _check(held)
    device = None if device is None else Hardware(device).device
    room = device.memory_bytes if device else None
    title = f"Memory of a rank ({clock})"
    longest = max([*map(_total, held.values()), room or 0, 1])
    with drawing():
        picture = blank(9, 1.75 + 0.42 * len(held))
        axes = picture.subplots()
        handles = {}
        for place, parts in enumerate(held.values()):
            handles |= _draw_row(axes, place, parts, clock, longest, room)
        if device:
            handles |= _draw_room(axes, device)
        _set_axes(axes, held, longest)
        axes.set_title(title, loc="left")
        names = [ink.label for ink in PARTS.values()] + [
            name for name in handles if "holds" in name
        ]
        shown = {name: handles[name] for name in names if name in handles}
        picture.legend(shown.values(), shown, loc="outside lower center", ncols=5)
    description = "; ".join(_describe_ledger(label, parts, room) for label, parts in held.items())
    holds = f" {device.name} holds {show_bytes(room)}." if device else ""
    picture.alt = f"{title}.{holds} {description}."
    return picture


def _check(held):
    if not held:
        raise LabError(
            "There is no memory to draw.",
            saw="no row",
            do='pass {"ddp": {"weights": 4e9, "gradients": 4e9, "optimizer": 8e9}}',
        )
    for label, parts in held.items():
        unknown = [name for name in parts if name not in PARTS]
        if unknown or any(not nbytes >= 0 for nbytes in parts.values()):
            raise LabError(
                "A memory ledger has four parts with their bytes.",
                saw=f"{label}: {dict(parts)}",
                do=f"name them {', '.join(PARTS)}, each with 0 bytes or more",
            )


def _total(parts):
    return sum(parts.values())


def _draw_row(axes, place, parts, clock, longest, room):
    handles, left = {}, 0.0
    for name, ink in PARTS.items():
        nbytes = parts.get(name, 0)
        if nbytes:
            handles[ink.label] = axes.barh(
                place, nbytes, left=left, height=0.72, color=ink.color, hatch=ink.hatch,
                edgecolor=palette.TEXT, linewidth=0.6, linestyle=palette.CLOCK_LINE[clock],
            )  # fmt: skip
        if nbytes > _WRITTEN_FROM * longest:
            paper = {"facecolor": palette.PAPER, "edgecolor": "none", "pad": 1.2}
            axes.text(left + nbytes / 2, place, show_bytes(nbytes), size=9, ha="center",
                      va="center", bbox=paper, zorder=4)  # fmt: skip
        left += nbytes
    fits = room is None or left <= room
    words = show_bytes(left) if fits else f"{show_bytes(left)}: does not fit"
    paper = {"facecolor": palette.PAPER, "edgecolor": "none", "pad": 1.0}
    axes.text(left + 0.012 * longest, place, words, size=9, va="center", bbox=paper,
              weight="normal" if fits else "bold", zorder=4)  # fmt: skip
    return handles


def _draw_room(axes, device):
    line = axes.axvline(device.memory_bytes, color=palette.CAPACITY.color, linewidth=2, zorder=3)
    return {f"{device.name} holds {show_bytes(device.memory_bytes)}": line}


def _set_axes(axes, held, longest):
    from lablib.views.picture import plain

    axes.set_yticks(range(len(held)), [plain(label) for label in held])
    axes.set_ylim(len(held) - 0.45, -0.55)
    # Leave space for the words to the right of the longest bar.
    axes.set_xlim(0, 1.28 * longest)
    axes.xaxis.set_major_formatter(lambda nbytes, _: show_bytes(nbytes))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("bytes of one rank")


def _describe_ledger(label, parts, room):
    each = ", ".join(
        f"{ink.label} {show_bytes(parts[name])}" for name, ink in PARTS.items() if parts.get(name)
    )
    fits = "" if room is None else (", fits" if _total(parts) <= room else ", does not fit")
    return f"{label}: {each or 'nothing'}, together {show_bytes(_total(parts))}{fits}"

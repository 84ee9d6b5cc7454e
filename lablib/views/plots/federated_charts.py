"""Federated training: scores of models, the drift of hospitals, and what a server receives."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lablib.errors import LabError
from lablib.views import palette

if TYPE_CHECKING:
    from lablib.cluster.run import Run
    from lablib.views.picture import Picture

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#1a1a1a")


def scores(groups: Mapping[str, Sequence[float]], measure: str) -> Picture:
    """Plot a row of dots for each group of models, with a line at the median.

    groups    label, such as "federated" -> the score of each model
    measure   what a score is, such as "area under the ROC curve"

    Raises LabError if there is no score.
    """
    from lablib.views.picture import blank, drawing, plain

    rows = {label: list(values) for label, values in groups.items() if len(values)}
    if not rows:
        raise LabError(
            "There is no score to draw.", saw=repr(groups), do='pass {"federated": [0.81, 0.83]}'
        )
    title = f"{measure[:1].upper()}{measure[1:]} of each model"
    with drawing():
        picture = blank(9, 1.3 + 0.5 * len(rows))
        axes = picture.subplots()
        for place, values in enumerate(rows.values()):
            look = _look(place)
            axes.plot(values, [place] * len(values), linestyle="", alpha=0.7, markersize=8, **look)
            middle = statistics.median(values)
            axes.plot([middle, middle], [place - 0.3, place + 0.3], color=palette.TEXT, linewidth=2)
            axes.annotate(
                f"{middle:.3f}", (1, place), xycoords=("axes fraction", "data"), va="center",
                xytext=(6, 0), textcoords="offset points",
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), map(plain, rows))
        axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=f"{measure} (line and number: median)")
        axes.grid(axis="x")
        axes.set_title(title, loc="left")
    described = (
        f"{label}: median {statistics.median(values):.3f}, from {min(values):.3f} to "
        f"{max(values):.3f}, {len(values)} model{'s' if len(values) > 1 else ''}"
        for label, values in rows.items()
    )
    picture.alt = f"{title}. {'; '.join(described)}."
    return picture


def drift(runs: Mapping[str, Sequence[Run]]) -> Picture:
    """Plot the mean drift of the hospitals by round; an area shows the range over several runs.

    runs   label, such as "fedavg" -> runs of a federated strategy that differ in their seeds

    The drift is what the ranks have logged: the distance between a hospital's weights and their new
    average, divided by the norm of the average. Hospitals that miss a round do not count. Raises
    LabError if no run has logged a drift.
    """
    from lablib.views.picture import blank, drawing, plain

    curves = {label: [_by_round(run) for run in some] for label, some in runs.items()}
    if not curves or not all(some and all(map(len, some)) for some in curves.values()):
        raise LabError(
            "There is no drift to draw.",
            saw=repr({label: len(some) for label, some in curves.items()}),
            do='pass runs of fedavg, fedprox or scaffold: {"fedavg": [run]}',
        )
    title = "Drift of the hospitals by round (measured)"
    described = []
    with drawing():
        picture = blank(9, 3.6)
        axes = picture.subplots()
        for number, (label, some) in enumerate(curves.items()):
            values = np.array([list(curve.values()) for curve in some])
            rounds = np.arange(1, values.shape[1] + 1)
            look = _look(number)
            axes.fill_between(
                rounds, values.min(0), values.max(0), color=look["color"], alpha=0.15, linewidth=0
            )
            axes.plot(rounds, values.mean(0), label=plain(label), **look)
            described.append(
                f"{label}: {values[:, 0].mean():.4f} in the first round, "
                f"{values[:, -1].mean():.4f} in round {rounds[-1]}"
            )
        axes.set(ylim=(0, None), xlabel="round", ylabel="distance from the average,\nrelative")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid()
        axes.set_title(title, loc="left")
        picture.legend(loc="outside right upper")
    picture.alt = f"{title}. {'; '.join(described)}."
    return picture


def messages_seen(messages: Mapping[str, np.ndarray]) -> Picture:
    """Plot what each kind of message looks like to its receiver: a histogram of its numbers.

    messages   label, such as "with a mask" -> integers, as uint32

    All panels have the same horizontal axis, from 0 to 2^32. Raises LabError if there is no
    message.
    """
    from lablib.views.picture import blank, drawing, plain

    if not messages:
        raise LabError(
            "There is no message to draw.", saw="no array", do='pass {"masked": integers}'
        )
    title = "The numbers of one message, as the receiver sees them"
    bins = np.linspace(0, 2**32, 33)
    described = []
    with drawing():
        picture = blank(9, 2.9)
        panels = picture.subplots(1, len(messages), squeeze=False, sharey=True)[0]
        for number, (axes, (label, integers)) in enumerate(zip(panels, messages.items())):
            counts, _ = np.histogram(integers, bins)
            share = 100 * counts / counts.sum()
            axes.stairs(share, bins, fill=True, color=_COLORS[number % len(_COLORS)])
            axes.set(title=plain(label), xlim=(0, 2**32), xlabel="number, as an integer of 32 bits")
            axes.set_xticks([0, 2**31, 2**32], ["0", "$2^{31}$", "$2^{32}$"])
            axes.grid(axis="y")
            described.append(f"{label}: the fullest of 32 bins has {share.max():.1f} % of them")
        panels[0].set_ylabel("share of the numbers [%]")
        picture.suptitle(title, x=0.01, ha="left", size=11, weight="bold")
    picture.alt = f"{title}. {'; '.join(described)}."
    return picture


def _by_round(run):
    """Return the mean drift over the hospitals, by round."""
    found: dict[int, list[float]] = {}
    for rows in run.logged:
        for row in rows:
            if "drift" in row:
                found.setdefault(row["round"], []).append(row["drift"])
    return {number: statistics.mean(found[number]) for number in sorted(found)}


def _look(number):
    return {
        "color": _COLORS[number % len(_COLORS)],
        "marker": palette.MARKERS[number % len(palette.MARKERS)],
    }

"""How far a model's probabilities can be trusted, for whom, and at which cost of privacy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lablib.errors import LabError
from lablib.views import palette

if TYPE_CHECKING:
    from lablib.views.picture import Picture

_BINS = 8
_BLUE, _ORANGE = "#0072B2", "#D55E00"


def calibration(
    y: np.ndarray, probability: np.ndarray, groups: Mapping[str, np.ndarray]
) -> Picture:
    """Plot observed against predicted shares, and the error rate of each group of patients.

    y             0 or 1 for each patient
    probability   the predicted probability of 1 for each patient
    groups        label, such as "women" -> True for each patient of the group

    Left: patients are sorted by their prediction and divided into eight bins of equal size; each
    dot compares the mean prediction of a bin with the share that has y = 1. Right: a prediction is
    wrong if it is on the other side of 0.5. Bars show 95 % intervals (Wilson). Raises LabError if
    there are no patients, or if a group is empty.
    """
    from lablib.views.picture import blank, drawing, plain

    y, probability = np.asarray(y), np.asarray(probability)
    _check(y, probability, groups)
    wrong = (probability >= 0.5) != (y == 1)
    rates = {label: _share(wrong[np.asarray(mask, bool)]) for label, mask in groups.items()}
    title = "Calibration, and errors by group of patients (measured)"
    with drawing():
        picture = blank(10.2, 4.2)
        left, right = picture.subplots(1, 2)
        left.plot([0, 1], [0, 1], color=palette.FAINT, linestyle=palette.DASHES[1], linewidth=1)
        described = []
        for part in np.array_split(np.argsort(probability, kind="stable"), _BINS):
            share, low, high, _ = _share(y[part] == 1)
            mean = probability[part].mean()
            _dot(left, mean, share, yerr=[[share - low], [high - share]], color=_BLUE)
            described.append(f"{mean:.2f}: {share:.2f}")
        left.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean predicted probability of a bin")
        left.set(ylabel="share that had y = 1", title="Predicted and observed (dashed: equal)")
        for place, (share, low, high, _) in enumerate(rates.values()):
            _dot(right, 100 * share, place, color=_ORANGE,
                 xerr=[[100 * (share - low)], [100 * (high - share)]])  # fmt: skip
        names = [plain(f"{label} ({rate[3]})") for label, rate in rates.items()]
        right.set_yticks(range(len(rates)), names)
        right.set(ylim=(len(rates) - 0.5, -0.5), xlim=(0, None), xlabel="wrong predictions [%]")
        right.set_title("Errors by group, 95 % intervals")
        for axes in (left, right):
            axes.grid()
        picture.suptitle(title, x=0.01, ha="left", size=11, weight="bold")
    errors = (
        f"{label}: {100 * share:.1f} % wrong ({100 * low:.1f} to {100 * high:.1f})"
        for label, (share, low, high, _) in rates.items()
    )
    picture.alt = (
        f"{title}. Mean prediction and observed share: {', '.join(described)}. {'; '.join(errors)}."
    )
    return picture


def _dot(axes, x, y, **look):
    axes.errorbar(x, y, fmt="o", capsize=3, **look)


def _check(y, probability, groups):
    if not len(y) or y.shape != probability.shape:
        raise LabError(
            "Each patient needs an outcome and a probability.",
            saw=f"{y.shape} outcomes, {probability.shape} probabilities",
            do="pass two arrays of the same length, one number for each patient",
        )
    for label, mask in groups.items():
        if len(mask) != len(y) or not np.any(mask):
            raise LabError(
                f"The group {label!r} has no patients.",
                saw=f"{int(np.sum(mask))} of {len(mask)} entries are True, for {len(y)} patients",
                do="pass one True or False for each patient, and at least one True",
            )


def _share(is_so):
    """Return the share of True, the ends of its 95 % interval, and the number of entries."""
    from scipy.stats import binomtest

    count = int(np.sum(is_so))
    interval = binomtest(count, len(is_so)).proportion_ci(method="wilson")
    return count / len(is_so), interval.low, interval.high, len(is_so)


def privacy(
    points: Mapping[float, Sequence[float]], measure: str, levels: Mapping[str, float] | None = None
) -> Picture:
    """Plot the score of models against their privacy budget epsilon, and the median of each budget.

    points    epsilon -> the score of each model that was trained with this budget
    measure   what a score is, such as "area under the ROC curve"
    levels    label -> a score to compare with, drawn as a dashed line

    Raises LabError if there is no model, or if an epsilon is not a number above 0.
    """
    from lablib.views.picture import blank, drawing, plain

    budgets = {epsilon: list(values) for epsilon, values in sorted(points.items()) if len(values)}
    if not budgets or not all(0 < epsilon < float("inf") for epsilon in budgets):
        raise LabError(
            "These budgets cannot be drawn.",
            saw=f"epsilon: {', '.join(map(str, budgets)) or 'none'}",
            do="pass {epsilon: [score, ...]} with finite epsilons above 0; a model without noise "
            "belongs into `levels`",
        )
    title = f"{measure[:1].upper()}{measure[1:]} by privacy budget (measured)"
    medians = {epsilon: float(np.median(values)) for epsilon, values in budgets.items()}
    levels = levels or {}
    with drawing():
        picture = blank(9, 3.8)
        axes = picture.subplots()
        for epsilon, values in budgets.items():
            axes.plot([epsilon] * len(values), values, "o", color=_BLUE, alpha=0.5)
        axes.plot(medians.keys(), medians.values(), color=_BLUE, label="median")
        for number, (label, level) in enumerate(levels.items()):
            dash = palette.DASHES[(number + 1) % len(palette.DASHES)]
            axes.axhline(level, color=palette.TEXT, linestyle=dash, linewidth=1, label=plain(label))
        axes.set(xscale="log", xlabel="epsilon (left: more private)", ylabel=measure)
        axes.set_xticks(list(budgets), [f"{epsilon:.2g}" for epsilon in budgets])
        axes.minorticks_off()
        axes.grid()
        axes.set_title(title, loc="left")
        picture.legend(loc="outside right upper")
    described = (f"epsilon {epsilon:.2g}: {score:.3f}" for epsilon, score in medians.items())
    compared = "".join(f" {label}: {level:.3f}." for label, level in levels.items())
    picture.alt = f"{title}. Medians: {', '.join(described)}.{compared}"
    return picture

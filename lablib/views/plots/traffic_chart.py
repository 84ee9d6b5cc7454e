"""Requests to a served model: latency, right answers and errors by version; drift of the inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lablib.errors import LabError
from lablib.units import show_s
from lablib.views import palette

if TYPE_CHECKING:
    import pandas as pd

    from lablib.views.picture import Picture

_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")


def traffic(
    table: pd.DataFrame, mean_pixels: np.ndarray, training_mean_pixels: np.ndarray
) -> Picture:
    """Plot latency and right answers by request, and the mean pixel of requests and training.

    table                  a row for each request: version, latency_s, error (bool), correct (bool)
    mean_pixels            of each request's image, 0 to 16
    training_mean_pixels   of the training images

    The second panel shows the share of right answers so far; requests without an answer count as
    wrong and are crosses in the first panel. Raises LabError if there is no request.
    """
    from matplotlib.ticker import LogLocator

    from lablib.views.picture import blank, drawing

    if not len(table):
        raise LabError("There is no request to draw.", saw="an empty table", do="send requests")
    versions = dict(zip(sorted(table["version"].unique()), _looks()))
    with drawing():
        picture = blank(11, 3.6)
        latency, right, pixels = picture.subplots(1, 3)
        for version, (color, marker) in versions.items():
            rows = table[table["version"] == version]
            _draw_latency(latency, rows, f"version {version}", color, marker)
            so_far = rows["correct"].expanding().mean() * 100
            right.step(so_far.index, so_far, where="post", color=color)
            right.plot(so_far.index[-1:], so_far.iloc[-1:], marker, color=color)
        latency.set(title="Latency", xlabel="request", yscale="log")
        latency.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        latency.yaxis.set_major_formatter(lambda seconds, _: show_s(seconds))
        latency.yaxis.set_minor_formatter("")
        right.set(title="Right answers so far", xlabel="request", ylabel="%", ylim=(-3, 103))
        _draw_distributions(pixels, mean_pixels, training_mean_pixels)
        for axes in (latency, right, pixels):
            axes.grid()
        picture.suptitle("Traffic (measured)", x=0.01, ha="left", size=11, weight="bold")
        picture.legend(loc="outside lower center", ncols=5)
    pixels = _describe_pixels(mean_pixels, training_mean_pixels)
    picture.alt = f"Traffic (measured). {_describe(table)} {pixels}"
    return picture


def _looks():
    """Return a colour and a marker for each version; they differ in both until they repeat."""
    return [
        (_COLORS[number % len(_COLORS)], palette.MARKERS[number % len(palette.MARKERS)])
        for number in range(len(_COLORS) * len(palette.MARKERS))
    ]


def _draw_latency(axes, rows, label, color, marker):
    for part, mark, size, text in (
        (rows[~rows["error"]], marker, 3, label),
        (rows[rows["error"]], "x", 7, f"{label}: error"),
    ):
        if len(part):
            axes.plot(part.index, part["latency_s"], mark, color=color, markersize=size, label=text)


def _draw_distributions(axes, requests, training):
    for pixels, label, dash in (
        (training, "training images", "-"),
        (requests, "requests", palette.DASHES[1]),
    ):
        axes.ecdf(pixels, label=label, color=palette.TEXT, linestyle=dash)
    axes.set(title="Mean pixel of an image", xlabel="mean pixel (0 to 16)", ylabel="share below")


def _describe(table):
    parts = []
    for version, rows in table.groupby("version"):
        parts.append(
            f"version {version}: {len(rows)} requests, {rows['error'].sum()} errors, "
            f"{rows['correct'].mean():.1%} right answers, median latency "
            f"{show_s(rows['latency_s'].median())}"
        )
    return "; ".join(parts) + "."


def _describe_pixels(requests, training):
    return (
        f"The median of an image's mean pixel is {np.median(requests):.1f} for the requests and "
        f"{np.median(training):.1f} for the training images."
    )

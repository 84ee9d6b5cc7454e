"""Requests from a labelled stream, and what was measured on them: errors, accuracy, latency, drift.

The stream is the part of the digits that training and the gate do not use, read from the kit's own
copy and sent as raw pixels. So it shows what users see, whatever the project's code does with data.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lablib import datasets
from lablib.errors import LabError, check_whole
from lablib.ops.client import Answer, ask, serving
from lablib.ops.live_traffic import Monitor

if TYPE_CHECKING:
    import pandas as pd

    from lablib.views.picture import Picture

_PART = {"train": (0, 1, 2), "held_out": (3,), "traffic": (4,)}  # row number % 5, as in digits.py
_SURE = 0.001  # a false alarm in a thousand runs


def stream(part: str = "traffic") -> tuple[np.ndarray, np.ndarray]:
    """Return raw images float32 [N, 64], pixels 0 to 16, and their digits int64 [N].

    part   "train", "held_out" or "traffic"
    """
    digits = datasets.load("digits")
    chosen = np.isin(np.arange(len(digits)) % 5, _PART[part])
    return digits.x[chosen].reshape(-1, 64) * 16, digits.y[chosen]


def brighter(images: np.ndarray) -> np.ndarray:
    """Return the images with 4 added to each pixel, at most 16."""
    return np.minimum(images + 4, 16)


def inverted(images: np.ndarray) -> np.ndarray:
    """Return the images with dark and bright exchanged."""
    return 16 - images


class Drift(NamedTuple):
    """Whether requests differ from the training images in their mean pixel.

    statistic   the largest distance of the two cumulative distributions, 0 to 1
    p_value     how often requests without a shift would reach this distance
    found       True if that is less than once in 1,000
    """

    statistic: float
    p_value: float
    found: bool


def drift(mean_pixels: np.ndarray) -> Drift:
    """Compare images with the training images by the mean of their pixels.

    mean_pixels   of each image, 0 to 16, [N]

    The two-sample Kolmogorov-Smirnov test needs no labels and no assumption about the
    distributions. S. Rabanser, S. Günnemann and Z. Lipton, "Failing Loudly: An Empirical Study of
    Methods for Detecting Dataset Shift", NeurIPS 2019, compare it with other tests.
    """
    from scipy.stats import ks_2samp

    found = ks_2samp(mean_pixels, _mean_pixels_of_training())
    return Drift(float(found.statistic), float(found.pvalue), bool(found.pvalue < _SURE))


@dataclass(frozen=True, eq=False)
class Traffic:
    """What was measured on the requests of one run.

    table        a row for each request, in the order in which they were sent: time_s since the
                 first one, version (that answered or failed), latency_s, error (bool), correct
                 (bool), confidence (0 to 1, NaN after an error)
    mean_pixels  of each request's image, 0 to 16
    champion     which version was the champion, or None
    challenger   which version was the challenger, or None
    """

    table: pd.DataFrame
    mean_pixels: np.ndarray
    champion: int | None = None
    challenger: int | None = None

    @property
    def drift(self) -> Drift:
        """Return whether the images differ from the training images."""
        return drift(self.mean_pixels)

    def summary(self) -> pd.DataFrame:
        """Return by version: requests, share of errors, accuracy of the answers, median latency."""
        by_version = self.table.groupby("version")
        answered = self.table[~self.table["error"]].groupby("version")
        return by_version.agg(requests=("error", "size"), error_rate=("error", "mean")).join(
            answered.agg(accuracy=("correct", "mean"), median_latency_s=("latency_s", "median"))
        )

    def plot(self) -> Picture:
        """Plot latency, accuracy and errors by version, and the drift."""
        from lablib.views import plots

        return plots.traffic(self.table, self.mean_pixels, _mean_pixels_of_training())

    def __repr__(self) -> str:
        drifted = "drift found" if self.drift.found else "no drift found"
        return f"Traffic of {len(self.table)} requests, {drifted}\n{self.summary()}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        return self.plot()._repr_mimebundle_(include, exclude)


def send(
    state: str | Path,
    requests: int = 200,
    *,
    shift: Callable[[np.ndarray], np.ndarray] | None = None,
    shift_from: int = 0,
    per_second: float | None = None,
    version: int | None = None,
    seed: int = 0,
    enough: Callable[[list[dict]], bool] = lambda rows: False,
) -> Traffic:
    """Send images of the labelled stream to the server, one in each request, one after the other.

    state        the pipeline's folder `state`
    shift        changes the images [N, 64] before they are sent, such as `inverted`
    shift_from   the number of the first request whose image is changed
    per_second   how many requests users send in a second, on average; then the measurements are
                 drawn live. None: each request follows the answer before
    version      ask this version; without it, the server's canary share decides
    seed         of the choice of images, of the times of requests and of their ids
    enough       receives the rows so far and returns True to stop

    Raises LabError if the server does not run, or if `shift` returns something else than finite
    images of the same shape with pixels from 0 to 16.
    """
    check_whole(1, requests=requests)
    check_whole(0, shift_from=shift_from)
    due_s = _due_times(requests, per_second, seed)
    images, labels = _draw(requests, shift, shift_from, seed)
    now, rows = serving(state), []
    so_far = partial(_measurements, rows, images, now)
    with contextlib.closing(Monitor(requests, live=per_second is not None)) as shown:
        for row in _rows(state, images, labels, due_s, version, seed):
            rows.append(row)
            shown(lambda: so_far().plot())
            if enough(rows):
                break
    return so_far()


def _measurements(rows, images, now):
    import pandas as pd

    mean_pixels = images[: len(rows)].mean(axis=1)
    return Traffic(pd.DataFrame(rows), mean_pixels, now.champion, now.challenger)


def _due_times(requests, per_second, seed):
    """Return when each request is to be sent, in seconds since the first one.

    Independent users send at random times, so the gaps have an exponential distribution.
    """
    if per_second is None:
        return np.zeros(requests)
    if not 0.1 <= per_second <= 1000:
        raise LabError(
            "The rate of requests must be between 0.1 and 1,000 a second.",
            saw=f"per_second={per_second!r}",
            do="write, for example, per_second=40",
        )
    gaps = np.random.default_rng([seed, requests]).exponential(1 / per_second, requests - 1)
    return np.concatenate([[0.0], np.cumsum(gaps)])


def _draw(requests, shift, shift_from, seed):
    images, labels = stream()
    rng = np.random.default_rng(seed)
    # Each image once, before any image is sent a second time.
    rounds = [rng.permutation(len(images)) for _ in range(-(-requests // len(images)))]
    chosen = np.concatenate(rounds)[:requests]
    sent = images[chosen]
    if shift is not None:
        sent[shift_from:] = _shifted(shift, sent[shift_from:])
    return sent, labels[chosen]


def _shifted(shift, images):
    sent = np.asarray(shift(images.copy()))
    if sent.shape != images.shape or not ((sent >= 0) & (sent <= 16)).all():
        raise LabError(
            "A shift must return images of the same shape with pixels from 0 to 16.",
            saw=f"shape {sent.shape}, pixels {sent.min()} to {sent.max()}",
            do="use, for example, np.clip(images + 4, 0, 16)",
        )
    return sent


def _rows(state, images, labels, due_s, version, seed) -> Iterator[dict]:
    begun_s = time.monotonic()
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        time.sleep(max(0, begun_s + due_s[number] - time.monotonic()))
        sent_s = time.monotonic() - begun_s
        answer = ask(state, image[None], version=version, request_id=f"{seed}-{number}")
        yield {"time_s": sent_s, **_measured(answer, label)}


def _measured(answer: Answer, label):
    failed = answer.status != 200
    return {
        "version": answer.version,
        "latency_s": answer.latency_s,
        "error": failed,
        "correct": not failed and answer.digits[0] == label,
        "confidence": np.nan if failed else answer.confidence[0],
    }


@cache
def _mean_pixels_of_training():
    return stream("train")[0].mean(axis=1)

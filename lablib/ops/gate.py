"""The gate: registers a new model unless it is worse than the champion, and says why.

The champion and the challenger answer the same held-out images. Which images are drawn is chance,
so a small difference in accuracy says little. The gate draws the images again, thousands of times
and with replacement, always the same images for both models (a paired bootstrap: B. Efron and
R. Tibshirani, *An Introduction to the Bootstrap*, 1993). The middle 95 % of the resulting
differences are a confidence interval; if all of it lies below 0, the challenger is worse.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np

from lablib.errors import LabError
from lablib.ops.environment import data_sha256
from lablib.ops.job_report import report, variable
from lablib.ops.model_files import load_module, load_predict, load_weights
from lablib.ops.registry import Registry

# Of the largest weight. Rounding alone gives up to 1e-3 after 150 steps, where it decides on which
# side of 0 the input of a ReLU is; training on half of the data gives 0.3 and more.
MOST_APART = 1e-2
_DRAWS = 2000


def main(runs: list[str], images: np.ndarray, labels: np.ndarray, floor: float = 0.9) -> int:
    """Compare, register if the gate lets the model pass, and return the exit status 0 or 1.

    runs     the ids of the training runs in MLflow. All must have the same weights; the first
             one's are registered.
    images   held-out images [N, 64] as the project's `model.probabilities` expects them
    labels   their digits [N]
    floor    the smallest accuracy that passes, also if there is no champion

    It runs in the project's folder, where `model.py`, `config.toml` and `data/digits.csv` are.
    Raises LabError for an unknown run, unusable weights or a variable that is not set.
    """
    if len(runs) < 2:
        raise LabError(
            "The gate compares the weights of two training runs.",
            saw=f"{len(runs)} runs of this commit",
            do="look at the logs of the job train: did both frameworks finish?",
        )
    registry = Registry(variable("PIPELINE_STATE"))
    weights = [registry.run_folder(run) / "weights.npz" for run in runs]
    passed, reason = same_weights(*map(load_weights, weights))
    if not passed:
        return report("gate", False, reason)
    challenger = _right(load_module(Path("model.py")).probabilities, weights[0], images, labels)
    champion = _champion_right(registry, images, labels)
    passed, reason = decide(champion, challenger, floor)
    if not passed:
        return report("gate", False, reason)
    tags = _tags() | {"accuracy": challenger.mean()}
    version = registry.register(weights[0], Path("model.py"), tags, runs[0])
    return report("gate", True, f"{reason} Registered as version {version}.", version)


def same_weights(first: dict, *others: dict) -> tuple[bool, str]:
    """Return whether the frameworks agree: for each array max |a - b| <= 1e-2 max |b|."""
    for other in others:
        for name, array in first.items():
            if array.shape != other[name].shape:
                return False, f"Rejected: {name} has another shape in the other framework."
            apart = np.abs(array - other[name]).max() / max(np.abs(other[name]).max(), 1e-30)
            if not apart <= MOST_APART:
                return False, (
                    f"Rejected: the frameworks' weights {name} differ by {apart:.1e} of the "
                    f"largest weight, and at most {MOST_APART:.0e} is allowed."
                )
    return True, "The frameworks' weights agree."


def decide(
    champion: np.ndarray | None, challenger: np.ndarray, floor: float = 0.9
) -> tuple[bool, str]:
    """Return whether the challenger passes the gate, and the reason as a sentence.

    champion, challenger   whether each held-out image was answered correctly, bool [N]; no
                           champion is None
    """
    accuracy = challenger.mean()
    if accuracy < floor:
        return False, f"Rejected: the accuracy {accuracy:.1%} is below the floor of {floor:.0%}."
    if champion is None:
        return True, f"Passed: the accuracy is {accuracy:.1%}, and there is no champion yet."
    low, high = difference_interval(champion, challenger)
    saw = (
        f"accuracy {accuracy:.1%}, the champion's {champion.mean():.1%}; "
        f"95 % interval of the difference {100 * low:+.1f} to {100 * high:+.1f} points."
    )
    if high < 0:
        return False, f"Rejected: the model is worse than the champion: {saw}"
    return True, f"Passed: the model is not shown to be worse than the champion: {saw}"


def difference_interval(
    champion: np.ndarray, challenger: np.ndarray, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the confidence interval of (challenger's accuracy - champion's), by paired bootstrap.

    champion, challenger   whether each image was answered correctly, bool [N]

    The draws are seeded: the same answers give the same interval.
    """
    from scipy.stats import bootstrap

    found = bootstrap(
        (challenger.astype(float) - champion,),
        np.mean,
        confidence_level=confidence,
        n_resamples=_DRAWS,
        method="percentile",  # others are undefined if both models always agree
        rng=np.random.default_rng(0),
    )
    return found.confidence_interval.low, found.confidence_interval.high


def _champion_right(registry, images, labels):
    champion = registry.serving().champion
    if champion is None:
        return None
    return load_predict(registry.folder(champion))(images).argmax(1) == labels


def _right(probabilities, weights, images, labels):
    return np.asarray(probabilities(load_weights(weights), images)).argmax(1) == labels


def _tags():
    """Return what is needed to train the same model again."""
    config = tomllib.loads(Path("config.toml").read_text())
    return {
        "commit": variable("GITHUB_SHA"),
        "data_sha256": data_sha256(Path()),
        "seed": config["seed"],
        "config": json.dumps(config),
    }

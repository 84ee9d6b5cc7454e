"""Predictions of a trained model in NumPy, for labs that judge a model by more than its loss."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lablib.errors import LabError
from lablib.tasks.task import Task


def probabilities(task: Task, weights: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Return the probability of each class for each sample: an array (samples, classes).

    task      a named task that consists of dense layers only, such as "actg175-mlp"
    weights   the weights by name, as in `run.history.weights`
    x         samples, (samples, features), scaled as those of `task.data()` are

    This needs no framework and starts no process. Raises LabError if the model has other layers,
    or if weights are missing.
    """
    from scipy.special import ndtr, softmax

    _check(task, weights)
    h = np.reshape(x, (len(x), -1))
    for number, block in enumerate(task.chain):
        h = h @ weights[f"{number}.dense.kernel"] + weights[f"{number}.dense.bias"]
        if block.kind == "dense":
            h = h * ndtr(h)  # GELU in its erf form
    return softmax(h, axis=1)


def _check(task, weights):
    others = sorted({block.kind for block in task.chain} - {"dense", "logits"})
    if others:
        raise LabError(
            f"The predictions of {task.name} cannot be computed here.",
            saw=f"blocks of the kind {', '.join(others)}",
            do="choose a task of dense layers only, such as actg175-mlp or digits-mlp",
        )
    missing = sorted(set(task.weights()) - set(weights))
    if missing:
        raise LabError(
            f"These are not the weights of {task.name}.",
            saw=f"no {missing[0]!r}; there are {', '.join(sorted(weights)[:3])} ...",
            do="pass run.history.weights; of local_only, pass those of one hospital: "
            "federated.of_hospital(number, run.history.weights)",
        )

"""Rebuild a registered version from what the registry recorded about it, and compare the weights.

A model that nobody can build again cannot be audited or repaired. The registry records the commit
(code, settings and seed), the checksum of the data and a hash of the environment; that is enough.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lablib.errors import LabError
from lablib.ops import repository, warm_runs
from lablib.ops.environment import data_sha256, environment, software
from lablib.ops.model_files import load_weights
from lablib.ops.registry import Registry

_WITHIN_S = 120


@dataclass(frozen=True)
class Rebuilt:
    """What came out when a version was trained again.

    equal         True if all weights are equal, bit for bit
    differences   a sentence for each thing that differs from what the registry recorded
    largest       the largest difference between two weights, or None if nothing was trained
    """

    version: int
    commit: str
    equal: bool
    differences: tuple[str, ...] = ()
    largest: float | None = None

    def __repr__(self) -> str:
        result = "the same weights, bit for bit" if self.equal else "not the same weights"
        lines = [f"Version {self.version}, built again from commit {self.commit[:7]}: {result}"]
        return "\n".join([*lines, *(f"  {text}" for text in self.differences)])


def rebuild(folder: str | Path, version: int) -> Rebuilt:
    """Train a version again from its recorded commit, and compare the weights bit for bit.

    folder   of the pipeline, which contains `remote.git` and `state`

    Nothing is trained if the commit's data file has another checksum than the recorded one.
    Raises LabError if there is no such version, or if the training fails.
    """
    folder = Path(folder).resolve()
    registry = Registry(folder / "state")
    recorded = registry.tags(version)
    with tempfile.TemporaryDirectory(prefix="lablib-rebuild-") as name:
        checkout = Path(name, "project")
        repository.git(folder, "clone", "-q", "remote.git", checkout)
        repository.git(checkout, "checkout", "-q", recorded["commit"])
        other_data = list(_other_data(checkout, recorded))
        differences = [*other_data, *_other_software(recorded)]
        if other_data:
            return Rebuilt(version, recorded["commit"], False, tuple(differences))
        _train(folder / "state", checkout, registry.framework(version))
        again = load_weights(checkout / "weights.npz")
    return _compare(version, recorded["commit"], registry, again, differences)


def _compare(version, commit, registry, again, differences):
    weights = load_weights(registry.folder(version) / "weights.npz")
    if any(weights[name].shape != again[name].shape for name in weights):
        return Rebuilt(version, commit, False, (*differences, "Weights have other shapes."))
    equal = all(weights[name].tobytes() == again[name].tobytes() for name in weights)
    largest = max(float(np.abs(weights[name] - again[name]).max()) for name in weights)
    return Rebuilt(version, commit, equal, tuple(differences), largest)


def _other_data(checkout, recorded):
    found = data_sha256(checkout)
    if found != recorded["data_sha256"]:
        yield f"The data differ: SHA-256 {found}, recorded {recorded['data_sha256']}."


def _other_software(recorded):
    """Say which versions changed, if the hash of the environment has changed."""
    if environment() != recorded["environment"]:
        changed = [
            f"{name} {version} (recorded: {recorded.get(name, 'none')})"
            for name, version in software().items()
            if recorded.get(name) != version
        ]
        yield f"The environment differs: {', '.join(changed) or 'other installed packages'}."


def _train(state, checkout, framework):
    own = {
        warm_runs.VARIABLE: str(state),
        # The project logs each training to MLflow; this one is not part of the pipeline's history.
        "MLFLOW_TRACKING_URI": f"sqlite:///{checkout.parent / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "lablib", "run", f"train_{framework}.py", "--ranks", "2"]
    try:
        done = subprocess.run(
            command, cwd=checkout, env=os.environ | own, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            timeout=_WITHIN_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise LabError(
            "The training of this version does not end.",
            saw=f"no result within {_WITHIN_S} s",
            do="end other programs, and try again",
        ) from None
    if done.returncode:
        raise LabError(
            "The training of this version failed.",
            saw=done.stdout[-1500:],
            do="compare the installed packages with the recorded ones: they may have changed",
        )

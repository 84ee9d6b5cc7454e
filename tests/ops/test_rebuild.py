"""A version is rebuilt from its commit, and what differs is named. Nothing is trained here."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import small_models

from lablib.errors import LabError
from lablib.ops import rebuild, repository
from lablib.ops.registry import Registry

DATA = b"0,1\n2,3\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pipeline's folder with one commit in `remote.git` and a registry."""
    folder = tmp_path_factory.mktemp("pipeline")
    work = folder / "work"
    (work / "data").mkdir(parents=True)
    (work / "data" / "digits.csv").write_bytes(DATA)
    repository.git(work, "init", "-q", "-b", "main")
    for name, value in (("user.name", "T"), ("user.email", "t@localhost")):
        repository.git(work, "config", name, value)
    repository.git(work, "add", "-A")
    repository.git(work, "commit", "-q", "-m", "first")
    repository.git(folder, "clone", "-q", "--bare", "work", "remote.git")
    (folder / "state").mkdir()
    Registry(folder / "state").serving()
    return folder


@pytest.fixture
def trained(monkeypatch):
    """Replace the training by a file with these weights; count how often it is asked for."""
    asked = []

    def train(state, checkout, framework):
        asked.append(framework)
        np.savez(checkout / "weights.npz", **trained.weights)

    def trained(weights):
        trained.weights = weights
        return asked

    monkeypatch.setattr(rebuild, "_train", train)
    return trained


def register(folder, data=DATA, **more):
    """Register a version that the folder's commit trained on this data."""
    registry = Registry(folder / "state")
    tags = small_models.TAGS | {
        "commit": repository.git(folder / "work", "rev-parse", "HEAD"),
        "data_sha256": hashlib.sha256(data).hexdigest(),
    }
    experiment = registry._client.get_experiment_by_name("digits").experiment_id
    run = registry._client.create_run(experiment, tags={"framework": "torch"}).info.run_id
    np.savez(folder / "weights.npz", **small_models.weights())
    return registry.register(folder / "weights.npz", small_models.MODEL, tags | more, run)


def test_the_same_weights_are_equal_bit_for_bit(folder, trained):
    asked = trained(small_models.weights())
    found = rebuild.rebuild(folder, register(folder))
    assert found.equal and found.differences == () and found.largest == 0
    assert asked == ["torch"] and "bit for bit" in repr(found)


def test_the_last_bit_of_one_weight_is_a_difference(folder, trained):
    weights = {name: array.copy() for name, array in small_models.weights().items()}
    weights["b1"][3] = np.nextafter(weights["b1"][3], np.float32(9))
    trained(weights)
    found = rebuild.rebuild(folder, register(folder))
    assert not found.equal and 0 < found.largest < 1e-6


def test_other_data_are_named_and_not_trained_on(folder, trained):
    asked = trained(small_models.weights())
    found = rebuild.rebuild(folder, register(folder, data=b"other"))
    assert not found.equal and asked == [] and found.largest is None
    assert len(found.differences) == 1


def test_another_environment_is_named_with_its_packages(folder, trained):
    trained(small_models.weights())
    found = rebuild.rebuild(folder, register(folder, environment="0" * 16, numpy="1.0"))
    assert found.equal and "numpy" in found.differences[0] and "1.0" in found.differences[0]


def test_an_unknown_version_is_an_error(folder):
    with pytest.raises(LabError, match="There is no version 99"):
        rebuild.rebuild(folder, 99)


def test_a_training_that_does_not_end_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(rebuild, "_WITHIN_S", 0.01)
    with pytest.raises(LabError, match="does not end"):
        rebuild._train(tmp_path, tmp_path, "torch")

"""Predictions in NumPy are those of the frameworks' models."""

from __future__ import annotations

import numpy as np
import pytest

from lablib import Cluster, datasets, tasks
from lablib.errors import LabError
from lablib.strategies import federated

ACTG = tasks.get("actg175-mlp")


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_probabilities_are_those_of_the_frameworks_model(framework):
    def on_a_rank(me):
        x, _ = ACTG.rows(np.arange(50))
        if me.framework == "torch":
            import torch

            return torch.softmax(ACTG.torch_model(3)(torch.tensor(x)), 1).detach().numpy()
        import tensorflow as tf

        return tf.nn.softmax(ACTG.tensorflow_model(3)(x)).numpy()

    with Cluster(1, framework=framework) as cluster:
        found = cluster.run(on_a_rank).values[0]
    here = tasks.probabilities(ACTG, ACTG.weights(3), ACTG.rows(np.arange(50))[0])
    assert here.shape == (50, 2) and np.allclose(here.sum(1), 1)
    assert np.allclose(here, found, atol=1e-5)
    assert not np.allclose(tasks.probabilities(ACTG, ACTG.weights(4), ACTG.data()[0][:50]), found)


def test_other_models_and_other_weights_are_an_error():
    with pytest.raises(LabError, match="cannot be computed here") as error:
        tasks.probabilities(tasks.get("digits-cnn"), {}, np.zeros((1, 8, 8, 1)))
    assert "conv" in error.value.saw
    with pytest.raises(LabError, match="not the weights of actg175-mlp") as error:
        named = federated.named(0, ACTG.weights())
        tasks.probabilities(ACTG, named, np.zeros((1, 13)))
    assert "of_hospital" in error.value.do


def test_the_weights_of_one_hospital_are_found_by_its_number():
    both = federated.named(0, ACTG.weights(0)) | federated.named(10, ACTG.weights(1))
    found = federated.of_hospital(10, both)
    assert all(np.array_equal(found[name], array) for name, array in ACTG.weights(1).items())
    with pytest.raises(LabError, match="no weights of hospital 1"):
        federated.of_hospital(1, both)


@pytest.mark.parametrize("name", ["cancer", "actg175"])
def test_the_test_set_is_scaled_as_the_training_set_and_apart_from_it(name):
    task, data = tasks.get(f"{name}-mlp"), datasets.load(name)
    x, y = task.test()
    assert np.array_equal(y, data.test[1]) and len(x) == data.is_test.sum()
    scaled = (data.x - data.train[0].mean(0)) / data.train[0].std(0)
    assert np.allclose(x, scaled[data.is_test], atol=1e-4)
    assert not np.allclose(x.mean(0), 0, atol=1e-3)  # a test set with its own mean would be

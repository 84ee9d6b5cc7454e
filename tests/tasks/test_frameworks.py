"""A task is the same in both frameworks: weights, outputs, losses, and weights after training."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lablib import tasks

SCRIPT = Path(__file__).with_name("in_one_framework.py")
ROOT = SCRIPT.parents[2]
NAMES = tasks.names()
# This allows for rounding only; the claims of this project allow ten times as much.
TOLERANCE = 1e-4


def found_in(framework, folder):
    path = folder / f"{framework}.npz"
    # Use one thread, because with more threads models this small only wait.
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), framework, str(path)],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def torch(tmp_path_factory):
    return found_in("torch", tmp_path_factory.mktemp("torch"))


@pytest.fixture(scope="module")
def tensorflow(tmp_path_factory):
    return found_in("tensorflow", tmp_path_factory.mktemp("tensorflow"))


@pytest.fixture(params=["torch", "tensorflow"])
def either(request):
    return request.getfixturevalue(request.param)


def of(found, name, what):
    start = f"{name}|{what}|"
    return {key.removeprefix(start): a for key, a in found.items() if key.startswith(start)}


def difference(a, b):
    """Return the largest difference of any tensor, relative to that tensor's largest value."""
    assert list(a) == list(b)
    return max(np.abs(a[name] - b[name]).max() / np.abs(b[name]).max() for name in a)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_starts_with_the_tasks_weights_bit_for_bit(either, name):
    weights, start = tasks.get(name).weights(), of(either, name, "start")
    assert list(start) == list(weights)
    assert all(np.array_equal(start[key], weights[key]) for key in weights)


@pytest.mark.parametrize("name", NAMES)
def test_frameworks_give_the_same_output(torch, tensorflow, name):
    a, b = (of(found, name, "output")["whole"] for found in (torch, tensorflow))
    assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("name", NAMES)
def test_stages_in_turn_are_the_whole_model(either, name):
    output = of(either, name, "output")
    assert np.abs(output["stages"] - output["whole"]).max() <= 1e-6 * np.abs(output["whole"]).max()
    assert output["shapes"].all()
    assert output["names"].tolist() == list(tasks.get(name).weights())


def test_one_stage_is_not_the_whole_model(either):
    output = of(either, "bytes-gpt", "output")
    assert output["first"].shape != output["whole"].shape


def gelu(x):
    return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def test_a_dense_kernel_is_in_by_out_and_gelu_is_the_erf_form(either):
    task = tasks.get("digits-mlp")
    (x, _), weights = task.batch_at(0, batch=4), task.weights()
    expected = gelu(x @ weights["0.dense.kernel"] + weights["0.dense.bias"])
    assert np.allclose(of(either, "digits-mlp", "output")["first"], expected, atol=1e-5)


def test_a_conv_kernel_is_height_width_in_out(either):
    task = tasks.get("digits-cnn")
    (x, _), kernel = task.batch_at(0, batch=4), task.weights()["0.conv.kernel"]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    first = of(either, "digits-cnn", "output")["first"]
    assert np.allclose(first, gelu(np.einsum("bhwcij,ijco->bhwo", windows, kernel)), atol=1e-5)
    turned = kernel.transpose(1, 0, 2, 3)
    assert not np.allclose(first, gelu(np.einsum("bhwcij,ijco->bhwo", windows, turned)), atol=1e-2)


@pytest.mark.parametrize("name", ["digits-mlp", "bytes-gpt"])
def test_frameworks_train_to_the_same_losses_and_weights(torch, tensorflow, name):
    a, b = (of(found, name, "trained") for found in (torch, tensorflow))
    assert np.abs(a["losses"] / b["losses"] - 1).max() <= TOLERANCE
    assert difference(a, b) <= TOLERANCE


@pytest.mark.parametrize("what", ["other seed", "other lr"])
def test_that_claim_can_fail(torch, tensorflow, what):
    a, b = of(torch, "digits-mlp", what), of(tensorflow, "digits-mlp", "trained")
    assert np.abs(a["losses"] / b["losses"] - 1).max() > 10 * TOLERANCE
    assert difference(a, b) > 10 * TOLERANCE
    # Both frameworks agree on the different run, too.
    assert difference(a, of(tensorflow, "digits-mlp", what)) <= TOLERANCE


@pytest.mark.parametrize("name", ["digits-mlp", "bytes-gpt"])
def test_the_loss_falls(either, name):
    trained = of(either, name, "trained")
    assert trained["losses"][-5:].mean() < 0.9 * trained["losses"][:5].mean()
    assert all(np.isfinite(array).all() for array in trained.values())


def test_arrays_are_read_through_a_wrapper_that_holds_the_model(either):
    name = "bytes-gpt" if "mirrored on" in either else "digits-mlp"
    wrapped, start = of(either, name, "wrapped"), of(either, name, "start")
    assert all(np.array_equal(wrapped[key], start[key]) for key in start)


def test_torch_models_are_made_without_drawing_from_torchs_random_state(torch):
    assert torch["random state is left alone"]
    assert torch["arrays are copies"]


def test_tensorflow_models_are_made_where_they_are_asked_for(tensorflow):
    assert tensorflow["devices"].tolist() == ["CPU:1"]
    assert tensorflow["mirrored on"] == 2


def test_tensorflows_gradients_are_dense_so_that_ranks_can_sum_them(tensorflow):
    assert tensorflow["embedding's gradient is dense"]


def test_the_first_loss_on_bytes_is_near_that_of_a_guess(torch, tensorflow):
    losses = of(torch, "bytes-gpt", "trained")["losses"]
    assert losses[0] == pytest.approx(math.log(256), rel=0.05)
    assert losses[0] == pytest.approx(float(tensorflow["loss"]), rel=TOLERANCE)

"""The gate accepts noise and rejects worse models; unusable weights never get that far."""

from __future__ import annotations

import numpy as np
import pytest

from lablib.errors import LabError
from lablib.ops import gate, model_files

IMAGES = 359


def pairs(challenger_loses: float, number: int, disagree: float = 0.06, accuracy: float = 0.96):
    """Yield which answers of champion and challenger are right; they differ on few images."""
    rng = np.random.default_rng(7)
    for _ in range(number):
        champion = rng.random(IMAGES) < accuracy
        challenger = champion.copy()
        differ = rng.random(IMAGES) < disagree
        champion[differ] = rng.random(differ.sum()) < challenger_loses
        challenger[differ] = ~champion[differ]
        yield champion, challenger


def share_rejected(decide, challenger_loses):
    passed = [decide(*pair)[0] for pair in pairs(challenger_loses, number=60)]
    return 1 - np.mean(passed)


def by_point_value(champion, challenger, floor=0.0):
    """The twin: a gate that compares two accuracies as if they had no noise."""
    return challenger.mean() >= champion.mean(), ""


def with_interval(champion, challenger):
    return gate.decide(champion, challenger, floor=0.0)


def test_the_gate_accepts_equally_good_models_and_rejects_worse_ones():
    assert share_rejected(with_interval, challenger_loses=0.5) < 0.1
    assert share_rejected(with_interval, challenger_loses=0.95) > 0.9


def test_a_gate_that_compares_point_values_rejects_equally_good_models():
    assert share_rejected(by_point_value, challenger_loses=0.5) > 0.3


def test_the_same_answers_give_the_same_interval_and_two_equal_models_pass():
    champion, challenger = next(pairs(0.5, 1))
    assert gate.difference_interval(champion, challenger) == gate.difference_interval(
        champion, challenger
    )
    assert gate.difference_interval(champion, champion) == (0, 0)


@pytest.mark.parametrize("accuracy, passes", [(0.95, True), (0.85, False)])
def test_a_first_model_needs_the_floor_only(accuracy, passes):
    answers = np.arange(IMAGES) < accuracy * IMAGES
    assert gate.decide(None, answers, floor=0.9)[0] == passes


def weights(hidden=4, **changed):
    rng = np.random.default_rng(0)
    shapes = {"w1": (64, hidden), "b1": (hidden,), "w2": (hidden, 10), "b2": (10,)}
    arrays = {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    return {name: array for name, array in (arrays | changed).items() if array is not None}


@pytest.mark.parametrize(
    "factor, same", [(1, True), (1 + 1e-3, True), (1.1, False), (np.nan, False)]
)
def test_the_frameworks_must_have_the_same_weights(factor, same):
    first = weights()
    assert gate.same_weights(first, first | {"w2": first["w2"] * np.float32(factor)})[0] == same


def test_one_training_run_is_not_enough_for_the_gate():
    with pytest.raises(LabError, match="two training runs"):
        gate.main(["one"], np.zeros((1, 64)), np.zeros(1))


@pytest.mark.parametrize(
    "arrays",
    [
        weights(hidden=5000),
        weights(b2=None),
        weights(more=np.zeros(3, "f4")),
        weights(w1=np.zeros((64, 5), "f4")),
        weights(w2=np.zeros((4, 10))),
        weights(b1=np.full(4, np.inf, "f4")),
        weights(b2=np.array([None] * 10)),
        weights(more=np.zeros(3_000_000, "f4")),
    ],
    ids="too large, missing, unknown, shape, float64, infinite, pickle, unpacked".split(", "),
)
def test_weights_of_another_form_are_refused(tmp_path, arrays):
    np.savez_compressed(tmp_path / "weights.npz", **arrays)
    with pytest.raises(LabError, match="weights cannot be used"):
        model_files.load_weights(tmp_path / "weights.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not an archive", b"\x93NUMPY"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "weights.npz").write_bytes(content)
    with pytest.raises(LabError, match="weights cannot be used"):
        model_files.load_weights(tmp_path / "weights.npz")


def test_good_weights_are_read_as_they_were_written(tmp_path):
    np.savez(tmp_path / "weights.npz", **weights())
    found = model_files.load_weights(tmp_path / "weights.npz")
    assert all(np.array_equal(found[name], array) for name, array in weights().items())

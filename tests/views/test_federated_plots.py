"""The figures of federated training and of medical models are legible, described and true."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
from drawings import illegible, words

from lablib.errors import LabError
from lablib.views import plots

RNG = np.random.default_rng(0)
PROBABILITY = RNG.uniform(0, 1, 800)
Y = (RNG.uniform(0, 1, 800) < PROBABILITY).astype(int)
GROUPS = {"women": np.arange(800) < 60, "men": np.arange(800) >= 60}
MASKED = RNG.integers(2**32, size=5000, dtype=np.uint32)
PLAIN = (RNG.normal(size=5000) * 2**20).astype(np.int64).astype(np.uint32)


def run(*drifts):
    """Return a run in which hospital 0 has these drifts, and hospital 1 misses the first round."""
    rows = [{"at_s": 0.0, "round": n, "drift": value} for n, value in enumerate(drifts)]
    return SimpleNamespace(logged=[rows, [row | {"drift": 0.2} for row in rows[1:]], [{"x": 1}]])


PICTURES = {
    "scores": lambda: plots.scores(
        {"central": [0.82], "each hospital alone": [0.7, 0.76, 0.79], "federated": [0.81, 0.83]},
        "area under the ROC curve",
    ),
    "drift": lambda: plots.drift(
        {"fedavg": [run(0.1, 0.4), run(0.3, 0.4)], "scaffold": [run(0.1, 0.1)]}
    ),
    "messages": lambda: plots.messages_seen({"plain": PLAIN, "with masks": MASKED}),
    "calibration": lambda: plots.calibration(Y, PROBABILITY, GROUPS),
    "privacy": lambda: plots.privacy(
        {8.0: [0.8, 0.81], 0.5: [0.6, 0.7, 0.62], 2.0: [0.75]}, "area", {"without noise": 0.82}
    ),
}


@functools.cache
def drawn(name):
    return PICTURES[name]()


@pytest.mark.parametrize("name", PICTURES)
def test_words_are_legible_and_in_their_place(name):
    assert illegible(drawn(name)) == []


def test_scores_say_the_median_and_the_range_of_each_group():
    alt = drawn("scores").alt
    assert "each hospital alone: median 0.760, from 0.700 to 0.790, 3 models" in alt
    assert "central: median 0.820, from 0.820 to 0.820, 1 model;" in alt
    assert {"0.820", "0.760"} <= set(words(drawn("scores")))


def test_drift_is_the_mean_over_the_hospitals_that_took_part():
    """Round 0 has one hospital (0.1 or 0.3), round 1 has two (0.4 and 0.2)."""
    fedavg = next(line for line in drawn("drift").axes[0].lines if line.get_label() == "fedavg")
    assert np.allclose(fedavg.get_ydata(), [0.2, 0.3])
    assert "fedavg: 0.2000 in the first round, 0.3000 in round 2" in drawn("drift").alt


def test_a_masked_message_fills_all_bins_and_a_plain_one_does_not():
    plain, masked = drawn("messages").alt.removesuffix(".").split(";")
    fullest = [float(text.split(" has ")[1].split(" ")[0]) for text in (plain, masked)]
    assert fullest[0] > 40 and fullest[1] < 5


def test_the_dots_of_a_calibrated_model_are_near_the_diagonal_and_others_are_not():
    def distance(picture):
        bars = picture.axes[0].containers
        return np.mean([abs(np.subtract(*bar.lines[0].get_xydata()[0])) for bar in bars])

    assert distance(drawn("calibration")) < 0.06
    assert distance(plots.calibration(Y, PROBABILITY**3, GROUPS)) > 0.15


def test_the_error_of_a_small_group_has_a_wide_interval():
    def width(text):
        low, high = text.split("wrong (")[1].split(")")[0].split(" to ")
        return float(high) - float(low)

    women, men = drawn("calibration").alt.split("women: ")[1].split("; men: ")
    assert width("wrong (" + women.split("wrong (")[1]) > 2 * width(men)
    wrong = 100 * np.mean((PROBABILITY[:60] >= 0.5) != Y[:60])
    assert f"women: {wrong:.1f} % wrong" in drawn("calibration").alt


def test_budgets_are_drawn_in_order_with_their_medians():
    medians = next(line for line in drawn("privacy").axes[0].lines if line.get_label() == "median")
    assert np.allclose(medians.get_xydata(), [[0.5, 0.62], [2, 0.75], [8, 0.805]])
    assert "epsilon 8: 0.805. without noise: 0.820." in drawn("privacy").alt


@pytest.mark.parametrize(
    "draw, wrong",
    [
        (lambda: plots.scores({"a": []}, "x"), "no score"),
        (lambda: plots.drift({}), "no drift"),
        (lambda: plots.drift({"local_only": [SimpleNamespace(logged=[[]])]}), "no drift"),
        (lambda: plots.messages_seen({}), "no message"),
        (lambda: plots.calibration(Y, PROBABILITY[1:], {}), "an outcome and a probability"),
        (lambda: plots.calibration(Y, PROBABILITY, {"nobody": Y > 1}), "'nobody' has no patients"),
        (lambda: plots.calibration(Y, PROBABILITY, {"few": [True]}), "'few' has no patients"),
        (lambda: plots.privacy({float("inf"): [0.8]}, "x"), "cannot be drawn"),
        (lambda: plots.privacy({}, "x"), "cannot be drawn"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(draw, wrong):
    with pytest.raises(LabError, match=wrong):
        draw()

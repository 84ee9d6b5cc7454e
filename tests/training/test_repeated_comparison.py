"""Measured comparisons are repeated in turn, show their range, and say why they may be doubtful.

The runs are replaced by scripted step times, so that no claim depends on this computer.
"""

from __future__ import annotations

from types import SimpleNamespace

import pandas
import pytest

import lablib as lab
from lablib.record.trace import Event, Trace
from lablib.views import speedup_words
from lablib.views.pages import comparison_report, comparison_table

QUIET, BUSY = 0.0, 99.0
# Measured on a busy computer: three calls gave three different results.
DRIFTING = ([1.0, 1.0, 1.0], [0.78, 2.11, 1.18])
STEADY = ([1.0, 1.02, 0.98], [1.5, 1.6, 1.55])
ALONE_TWICE = ([1.0, 0.84, 1.0], [1.0, 1.0, 1.1])  # "119 % efficient" in one of the pairs


def run_of(rate, ranks, hardware=None, caution=""):
    """Return a training run of three steps that trains `rate` batches of 64 in a second."""
    ends = [step / rate for step in range(4)]
    steps = [
        Event(rank, "step", f"step {n}", ends[n], ends[n + 1])
        for rank in range(ranks) for n in range(3)
    ]  # fmt: skip
    numbers = pandas.DataFrame({"live_bytes": [float("nan")], "peak_bytes": [1e6]})
    return SimpleNamespace(
        trace=Trace(steps, clock="modelled" if hardware else "measured"), metrics=numbers,
        hardware=hardware, clock="modelled" if hardware else "measured", caution=caution,
        history=SimpleNamespace(batch=64, loss=[2.0, 1.5, 1.0]),
    )  # fmt: skip


@pytest.fixture
def compared(monkeypatch):
    """Call compare(rates, ...) with scripted rates of `single` and `ddp`, one a repeat."""

    def compare(rates, *, other_cores=QUIET, caution="", ddp_ranks=2, cores=4, **asked):
        script = {"single": iter(rates[0]), "ddp": iter(rates[1])}
        calls = []

        def train(name, *, ranks, steps, hardware, **_):
            calls.append((name, steps))
            return run_of(next(script[name]), ranks, hardware, caution if name == "ddp" else "")

        monkeypatch.setattr("lablib.training.compare.train", train)
        monkeypatch.setattr("lablib.training.compare.cores", lambda: cores)
        monkeypatch.setattr("lablib.training.busy_computer.cores", lambda: cores)
        monkeypatch.setattr("lablib.training.busy_computer.other_cores", lambda: other_cores)
        asked = {"strategies": ["single", "ddp"], "ranks": [ddp_ranks], "steps": 30} | asked
        comparison = lab.compare(framework="torch", progress=False, **asked)
        return comparison, calls

    return compare


def ddp_of(comparison):
    return comparison.table.to_dict("records")[-1]


def everywhere(comparison, tmp_path):
    """Return all that a reader sees: the table in three forms, the figure, the page."""
    page = comparison_report.write(comparison, tmp_path)
    return [
        comparison_table.text(comparison.table),
        comparison_table.markdown(comparison.table),
        comparison._repr_html_(),
        comparison.plot().alt,
        page.read_text(),
    ]


def test_repeats_take_turns_and_only_the_first_trains_all_steps(compared):
    _, calls = compared(STEADY)
    assert calls == [("single", 30), ("ddp", 30)] + 2 * [("single", 10), ("ddp", 10)]
    _, calls = compared(STEADY, steps=4)
    assert {steps for _, steps in calls} == {4}


def test_median_and_range_of_all_pairs_are_shown(compared, tmp_path):
    comparison, _ = compared(STEADY)
    row = ddp_of(comparison)
    assert row["samples_per_s"] == pytest.approx(1.55 * 64)
    assert row["speedup"] == pytest.approx(1.6 / 1.02)
    assert (row["speedup_low"], row["speedup_high"]) == pytest.approx((1.5 / 1.02, 1.6 / 0.98))
    assert row["finding"] == "faster"
    for shown in everywhere(comparison, tmp_path):
        assert "1.57 (1.47 to 1.63)" in shown and "≈ 1" not in shown


@pytest.mark.parametrize("rates, ranks", [(DRIFTING, 2), (ALONE_TWICE, 1)])
def test_a_range_that_includes_1_is_no_finding_anywhere(compared, tmp_path, rates, ranks):
    comparison, _ = compared(rates, ddp_ranks=ranks)
    row = ddp_of(comparison)
    assert row["finding"] == "no difference"
    for shown in everywhere(comparison, tmp_path):
        assert f"≈ 1 ({row['speedup_low']:.3g} to {row['speedup_high']:.3g})" in shown
        assert f"{row['speedup']:.3g} (" not in shown and "119%" not in shown


def test_that_range_is_explained(compared, tmp_path):
    comparison, _ = compared(DRIFTING)
    text, _, notebook, figure, page = everywhere(comparison, tmp_path)
    for shown in (text, notebook, figure, page):
        assert "this measurement shows no difference" in shown


def test_an_efficiency_of_more_than_100_percent_is_questioned(compared):
    comparison, _ = compared(([1.0, 1.0, 1.0], [1.19, 1.18, 1.2]), ddp_ranks=1)
    assert ddp_of(comparison)["finding"] == "faster"
    assert "seems more than 1 times as fast" in comparison.conditions["caution"]
    fair, _ = compared(STEADY)
    assert "caution" not in fair.conditions


@pytest.mark.parametrize("asked, seen", [
    (dict(other_cores=BUSY), "the computer was busy: other programs used 99.0 of 4 cores"),
    (dict(caution="rank 0 had a core for only 30%"), "ddp on 2, torch: rank 0 had a core for only"),
    (dict(ddp_ranks=8), "8 ranks shared 4 cores"),
])  # fmt: skip
def test_what_makes_the_times_doubtful_is_said_wherever_they_are_shown(
    compared, tmp_path, asked, seen
):
    comparison, _ = compared(STEADY, **asked)
    assert seen in comparison.conditions["caution"]
    _, _, notebook, figure, page = everywhere(comparison, tmp_path)
    for shown in (notebook, figure, page):
        assert seen in shown and "Caution" in shown


def test_one_measurement_has_no_range_and_says_so(compared, tmp_path):
    comparison, _ = compared(STEADY, repeats=1)
    row = ddp_of(comparison)
    assert row["finding"] == "measured once" and row["speedup_low"] != row["speedup_low"]
    assert "1.5 (once)" in comparison_table.text(comparison.table)
    assert speedup_words.efficiency(row) == "75% (once)"
    assert "measured only once" in comparison.conditions["caution"]


def test_modelled_times_are_computed_once_and_are_exact(compared):
    comparison, calls = compared(STEADY, hardware="ethernet-10", other_cores=BUSY)
    row = ddp_of(comparison)
    assert len(calls) == 2 and row["finding"] == "faster"
    assert row["speedup"] == row["speedup_low"] == row["speedup_high"]
    assert "caution" not in comparison.conditions
    assert "(" not in comparison_table.text(comparison.table).splitlines()[-1]


def test_no_repeat_at_all_is_an_error(compared):
    with pytest.raises(lab.LabError, match="repeats=0"):
        compared(STEADY, repeats=0)

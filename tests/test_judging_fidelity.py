"""The benchmark of the model judges only fair measurements, and none from a busy computer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = str(Path(__file__).resolve().parents[1] / "benchmarks")
FAIR = [(10.0, 9.8), (10.0, 9.9), (12.0, 11.9)]  # measured and modelled, with a core all the time
LACKING = [(10.0, 7.5), (10.0, 7.2), (11.0, 8.0)]  # off by 25 %: ranks waited for a core


@pytest.fixture
def fidelity(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield pytest.importorskip("fidelity")
    for name in ("fidelity", "_paired"):
        sys.modules.pop(name, None)


def pairs(fidelity, times, share):
    return [fidelity.Pair(measured, modelled, share) for measured, modelled in times]


def test_fair_pairs_are_judged_and_their_spread_is_shown(fidelity):
    notes, (claim,) = fidelity.judged("a task", pairs(fidelity, FAIR, 0.98))
    assert claim.holds and claim.value == pytest.approx(0.01)
    assert "0.990 (0.980 to 0.992, 3 pairs)" in notes[-1]


def test_that_judgement_can_be_a_miss(fidelity):
    _, (claim,) = fidelity.judged("a task", pairs(fidelity, LACKING, 0.98))
    assert not claim.holds


def test_pairs_whose_ranks_lacked_cores_are_shown_but_not_judged(fidelity):
    mixed = pairs(fidelity, FAIR, 0.98) + pairs(fidelity, LACKING, 0.7)
    _, (claim,) = fidelity.judged("a task", mixed)
    assert claim.holds
    notes, judged = fidelity.judged("a task", pairs(fidelity, LACKING, 0.7))
    assert judged == [] and "not judged" in notes[-1] and "70%" in notes[0]


BUSY = "other programs used 1.5 of 2 cores"


@pytest.mark.parametrize("before, after, measured, seen, status", [
    (BUSY, "", False, "before the measurement", 2),
    ("", BUSY, True, "after the measurement", 2),
    ("", "", True, "ok     a task", 0),
])  # fmt: skip
def test_a_busy_computer_judges_nothing(
    fidelity, monkeypatch, capsys, before, after, measured, seen, status
):
    found, calls = iter([before, after]), []

    def claims(link):
        calls.append(link)
        return fidelity.judged("a task", pairs(fidelity, FAIR, 1.0))

    monkeypatch.setattr(fidelity, "refusal", lambda: next(found))
    monkeypatch.setattr(fidelity, "claims", claims)
    assert fidelity.measured_and_judged("Fidelity", "as it is") == status
    printed = capsys.readouterr().out
    assert seen in printed and bool(calls) == measured
    assert ("NOT JUDGED" in printed) == (status == 2)


def test_it_refuses_where_no_rank_had_a_core(fidelity, monkeypatch, capsys):
    monkeypatch.setattr(fidelity, "refusal", lambda: "")
    lacking = fidelity.judged("a task", pairs(fidelity, LACKING, 0.5))
    monkeypatch.setattr(fidelity, "claims", lambda link: lacking)
    assert fidelity.measured_and_judged("Fidelity", "as it is") == 2
    assert "NOT JUDGED: the ranks lacked cores" in capsys.readouterr().out


MEASURING = sorted(path.stem for path in Path(BENCHMARKS).glob("[!_]*.py"))
MEASURING.remove("horovod")  # it compares models with a published table and measures nothing


@pytest.mark.parametrize("name", MEASURING)
def test_no_benchmark_that_measures_judges_on_a_busy_computer(name):
    text = Path(BENCHMARKS, f"{name}.py").read_text()
    assert "= refusal()" in text or ", refusal())" in text

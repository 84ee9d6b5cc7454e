"""Other programs on the computer are noticed, and also ranks that had to wait for a core."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest

import lablib as lab
from lablib.computer.facts import cores
from lablib.hardware import Device, Hardware, Link
from lablib.record.rows import Computed
from lablib.training import busy_computer

HOST = Hardware(Device("host", {"fp32": 1e10}, 1e10, 1e9), per_node=2, within=Link(1e9, 1e-5))
SPIN = "while True: pass"


@pytest.fixture
def busy():
    """Keep all cores busy."""
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(cores())]
    yield
    for process in spinning:
        process.kill()
        process.wait(timeout=10)


@pytest.mark.timeout(60)
def test_other_programs_are_noticed(busy):
    used = busy_computer.other_cores(interval_s=1)
    assert used > 0.5 * cores()
    assert "other programs used" in busy_computer.too_busy(used, needed_cores=cores())


@pytest.mark.parametrize("used, needed, of, disturbs", [
    (0.1, 2, 2, False), (0.5, 2, 2, True), (0.5, 4, 2, True), (0.9, 1, 2, False),
    (3.0, 4, 8, False), (5.0, 4, 8, True),
])  # fmt: skip
def test_they_disturb_where_too_few_cores_are_left(monkeypatch, used, needed, of, disturbs):
    monkeypatch.setattr(busy_computer, "cores", lambda: of)
    assert bool(busy_computer.too_busy(used, needed)) == disturbs


@pytest.fixture(autouse=True)
def short_runs_count_too(monkeypatch):
    monkeypatch.setattr(busy_computer, "_LEAST_S", 0.0)


@pytest.fixture(scope="module")
def run():
    return lab.train("ddp", ranks=2, steps=6, threads=1, progress=False)


def with_cpu_seconds(run, times):
    """Return the same run, in which ranks had a core for this share of the time without waits."""
    records = []
    for rank, record in enumerate(run.records):
        share = busy_computer.cpu_share(run, rank)
        rows = [
            msgspec.structs.replace(row, cpu_s=row.cpu_s * times / share)
            if isinstance(row, Computed)
            else row
            for row in record.rows
        ]
        records.append(msgspec.structs.replace(record, rows=rows))
    return replace(run, records=records)


@pytest.mark.parametrize("times, lacked", [(1.0, False), (0.9, False), (0.3, True)])
def test_ranks_that_waited_for_a_core_are_noticed(monkeypatch, run, times, lacked):
    monkeypatch.setattr(busy_computer, "cores", lambda: 2)
    why = busy_computer.ranks_lacked_cores(with_cpu_seconds(run, times))
    assert ("had a core for only 30%" in why) == bool(why) == lacked


def test_in_graphs_of_tensorflow_the_time_of_messages_is_taken_for_waiting():
    run = lab.train("multi_worker_mirrored", ranks=2, steps=6, threads=1, progress=False)
    assert all(0 < busy_computer.cpu_share(run, rank) < 3 for rank in range(2))
    split = lab.train("device_split", ranks=2, steps=3, threads=1, progress=False)
    # The time at which its messages moved is unknown.
    assert math.isnan(busy_computer.cpu_share(split, 0))


def test_ranks_that_share_cores_among_themselves_are_no_sign_of_others(monkeypatch, run):
    monkeypatch.setattr(busy_computer, "cores", lambda: 1)
    assert busy_computer.ranks_lacked_cores(with_cpu_seconds(run, 0.3)) == ""


def test_a_modelled_run_needs_no_core_of_its_own(run):
    lacking = with_cpu_seconds(run, 0.3)
    assert busy_computer.ranks_lacked_cores(lacking.on(HOST)) == ""


def test_a_training_run_says_it_where_it_is_shown(monkeypatch):
    monkeypatch.setattr(
        "lablib.training.busy_computer.ranks_lacked_cores", lambda run: "rank 0 had none"
    )
    run = lab.train("single", steps=2, progress=False)
    assert run.caution == "rank 0 had none"
    assert "measured, rank 0 had none" in repr(run)
    assert "rank 0 had none" in run._repr_html_()
    assert run.on(HOST).caution == ""

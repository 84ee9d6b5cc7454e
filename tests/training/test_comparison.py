"""Strategies side by side, measured and modelled; one run on several machines."""

from __future__ import annotations

import numpy as np
import pytest

import lablib as lab

TIMES = ["samples_per_s", "speedup", "efficiency", "comm_share", "wire_bytes_per_rank"]
WAYS = ["single", "ddp", "pipeline_split"]
ASKED = dict(
    task="digits-mlp", ranks=[1, 2, 4], steps=3, framework="torch", strategies=WAYS,
    repeats=1, progress=False,
)  # fmt: skip


def test_runs_stand_side_by_side():
    comparison = lab.compare(**ASKED | {"ranks": [1, 2]})
    table = comparison.table
    assert list(zip(table.strategy, table.ranks)) == [
        ("single", 1), ("ddp", 1), ("ddp", 2), ("pipeline_split", 2),
    ]  # fmt: skip
    assert set(table.clock) == {"measured"}
    assert table.speedup[0] == 1.0
    assert (table.final_loss - table.final_loss[0]).abs().max() < 1e-4
    assert set(comparison.runs) == set(zip(table.strategy, table.framework, table.ranks))
    assert "cores" in comparison.conditions["computer"]


def test_a_modelled_comparison_is_the_same_everywhere_and_says_what_it_modelled():
    first, second = (lab.compare(**ASKED, hardware="ethernet-10") for _ in range(2))
    assert set(first.table.clock) == {"modelled"}
    assert first.table[TIMES].equals(second.table[TIMES])
    other = lab.compare(**ASKED, hardware="ethernet-1").table
    assert not first.table[TIMES].equals(other[TIMES])
    assert "ethernet-10" in first.conditions["clock"]
    assert "loss measured, memory counted" in first.plot().alt


def test_a_rate_counts_all_samples_of_a_step_that_is_an_epoch():
    asked = ASKED | {"ranks": [2], "strategies": ["ddp", "fedavg"]}
    comparison = lab.compare(**asked, hardware="ethernet-10")
    rate = dict(zip(comparison.table.strategy, comparison.table.samples_per_s))
    run = comparison.runs["fedavg", "torch", 2]
    ends_s = [max(e.end_s for e in run.trace.of(kind="step", name=f"step {n}")) for n in (0, 2)]
    assert rate["fedavg"] == pytest.approx(
        2 * lab.tasks.get("digits-mlp").samples / (ends_s[1] - ends_s[0])
    )
    assert comparison.conditions["epochs"] == "a step of fedavg passes over all samples"
    without = lab.compare(**asked | {"strategies": ["ddp"]}, hardware="ethernet-10")
    assert "epochs" not in without.conditions


def test_what_cannot_be_modelled_is_left_out_and_named():
    asked = ASKED | {"framework": "tensorflow", "ranks": [2], "strategies": None}
    comparison = lab.compare(**asked, hardware="ethernet-10")
    assert {"single", "multi_worker_mirrored"} <= set(comparison.table.strategy)
    assert "device_split" not in set(comparison.table.strategy)
    assert (
        "device_split on 2: device_split cannot be modelled. one rank drives"
        in comparison.conditions["left out"]
    )


def test_messages_that_nobody_sees_are_not_counted_as_none():
    asked = ASKED | {"framework": "tensorflow", "ranks": [3], "strategies": ["parameter_server"]}
    (row,) = lab.compare(**asked).table.to_dict("records")
    assert row["comm_counted"] == "unseen"
    unseen = ("wire_bytes_per_rank", "payload_bytes_per_step", "comm_share")
    assert all(np.isnan(row[name]) for name in unseen)


def own_task(layers):
    from torch import nn

    x = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    model = nn.Sequential(*[nn.Linear(8, 8) for _ in range(layers)])
    return lab.Task.from_torch(model, nn.CrossEntropyLoss(), (x, x.argmax(axis=1)), batch=16)


@pytest.mark.parametrize("layers, cut", [(1, False), (2, True)])
def test_an_own_model_is_compared_in_the_ways_that_can_train_it(layers, cut):
    comparison = lab.compare(task=own_task(layers), ranks=[2], steps=2, repeats=1, progress=False)
    ways = set(comparison.table.strategy)
    assert {"single", "ddp", "fsdp"} <= ways
    assert ("pipeline_split" in ways) == ("gpipe" in ways) == cut
    assert set(comparison.table.framework) == {"torch"}
    assert "tensor_parallel on 2" in comparison.conditions["left out"]


def test_an_own_model_is_played_on_other_machines():
    run = lab.train("ddp", task=own_task(2), ranks=2, steps=3, hardware="t4", progress=False)
    table = lab.what_if(run, ["ethernet-1", "dgx-h100"]).table
    assert list(table.hardware) == ["t4", "ethernet-1", "dgx-h100"]
    assert table.step_s[1] > table.step_s[2]


def test_the_machines_are_drawn_with_their_clock():
    run = lab.train("ddp", ranks=2, steps=3, hardware="t4", progress=False)
    picture = lab.what_if(run, "ethernet-1").plot()
    assert "2 machines (modelled)" in picture.alt and "ethernet-1: " in picture.alt


WRONG = [
    (dict(ranks=[1, 1000], batch=1000, hardware="dgx-a100"), "1000 ranks"),
    (dict(hardware="dgx"), "known"),
    (dict(strategies=[]), "strategies=[]"),
    (dict(strategies=["device_split"], framework="tensorflow", hardware="t4"), "no program"),
    (dict(ranks=[]), "ranks=[]"),
]


@pytest.mark.parametrize("asked, seen", WRONG, ids=[seen for _, seen in WRONG])
def test_what_cannot_be_compared_is_said_before_any_rank_starts(asked, seen, monkeypatch):
    monkeypatch.setattr(
        "lablib.training.compare.train", lambda *_, **__: pytest.fail("it was started")
    )
    with pytest.raises(lab.LabError) as caught:
        lab.compare(**{**ASKED, **asked})
    assert seen in caught.value.saw


def test_a_framework_that_an_own_model_is_not_there_in_is_said():
    with pytest.raises(lab.LabError, match="cannot be trained in tensorflow"):
        lab.compare(task=own_task(1), framework="tensorflow", ranks=[2])
    with pytest.raises(lab.LabError, match="cannot"):
        lab.compare(task=own_task(1), strategies=["pipeline_split"], ranks=[2])


def test_memory_says_how_it_was_counted():
    asked = ASKED | {"ranks": [1], "strategies": ["single"], "framework": None}
    tables = [lab.compare(**asked, hardware=machine).table for machine in ("ethernet-10", None)]
    counted = [dict(zip(table.framework, table.memory_counted)) for table in tables]
    assert counted == [
        {"torch": "tensors", "tensorflow": "graph"},
        {"torch": "process", "tensorflow": "process"},
    ]

"""Pipelines by their traces: what they send and hold, how long ranks idle; wrong versions."""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
import pipeline_twins as twins
import pytest

import lablib as lab
from lablib import strategies
from lablib.cluster.local import launch
from lablib.hardware import Device, Hardware, Link
from lablib.record import metrics
from lablib.strategies import stages

MICRO_BATCHED = ["gpipe", "gpipe_by_hand", "one_f_one_b", "one_f_one_b_by_hand", "interleaved"]
# 1 GFLOP/s; memory and links that take no time.
SLOW = Device("slow", {"fp32": 1e9}, 1e15, 1e9)
FREE = Hardware(SLOW, per_node=8, within=Link(math.inf, 0.0), name="free links")
EVEN = twins.even_task()


@cache
def modelled(name, ranks, task="digits-mlp", hardware="dgx-a100", **options):
    return lab.train(
        name, task=task, ranks=ranks, steps=3, hardware=hardware, progress=False, **options
    )


def complaints(name, run, ranks, **options):
    task = lab.tasks.get("digits-mlp")
    return strategies.get(name).expected(task, ranks, task.batch, **options).complaints(run)


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("name", ["pipeline_split", *MICRO_BATCHED])
def test_a_pipeline_sends_and_holds_its_closed_form(name, ranks):
    assert complaints(name, modelled(name, ranks), ranks) == []


@pytest.mark.parametrize("name", MICRO_BATCHED)
def test_that_form_holds_for_more_micro_batches_too(name):
    run = modelled(name, 4, micro_batches=8)
    assert complaints(name, run, 4, micro_batches=8) == []
    assert complaints(name, run, 4) != []


@pytest.mark.parametrize("task", ["digits-mlp", "wide-mlp"])
def test_two_pipelines_side_by_side_also_average_their_gradients(task):
    run = modelled("data_pipeline", 4, task)
    task = lab.tasks.get(task)
    assert strategies.get("data_pipeline").expected(task, 4, task.batch).complaints(run) == []
    assert {event.group for event in run.trace.of(kind="message", name="all_reduce")} == {
        (0, 2),
        (1, 3),
    }


def test_a_single_pipeline_is_no_grid():
    run = modelled("gpipe", 4)
    task = lab.tasks.get("digits-mlp")
    (missing, *_) = strategies.get("data_pipeline").expected(task, 4, task.batch).complaints(run)
    assert missing.startswith("all_reduce: none")


def test_what_blocks_keep_is_not_claimed_where_it_is_not_known():
    task = lab.tasks.get("bytes-gpt")
    assert strategies.get("gpipe").expected(task, 4, task.batch).live_bytes is None


def twin(function, ranks, task, hardware, **options):
    task = lab.tasks.get(task)
    job = strategies.Job(task, 3, task.batch, 0, {"micro_batches": 4} | options)
    return lab.Cluster(ranks, hardware=hardware).run(partial(function, job=job))


@pytest.mark.parametrize("name", ["gpipe", "gpipe_by_hand", "one_f_one_b_by_hand"])
def test_the_whole_batch_in_one_message_is_complained_about(name):
    (first, *_) = complaints(name, twin(twins.one_batch, 4, "digits-mlp", "dgx-a100"), 4)
    assert first.startswith("recv: 6 calls")


@pytest.mark.parametrize("name", ["gpipe", "gpipe_by_hand"])
def test_keeping_one_micro_batch_instead_of_all_is_complained_about(name):
    run = twin(twins.one_at_a_time, 2, "digits-mlp", "dgx-a100", micro_batches=8)
    (memory,) = complaints(name, run, 2, micro_batches=8)
    assert memory.startswith("memory")


@pytest.mark.parametrize("name", ["one_f_one_b", "one_f_one_b_by_hand"])
def test_keeping_all_micro_batches_is_no_1f1b(name):
    options = dict(micro_batches=8, batch=2048)
    task = lab.tasks.get("digits-mlp")
    form = strategies.get(name).expected(task, 2, 2048, micro_batches=8)
    assert form.complaints(modelled(name, 2, **options)) == []
    (complaint,) = form.complaints(modelled("gpipe", 2, **options))
    assert complaint.startswith("memory")


def test_one_stage_a_rank_is_not_interleaved():
    assert complaints("interleaved", modelled("one_f_one_b", 4), 4) != []


def test_the_gradients_of_micro_batches_summed_are_not_those_of_the_batch():
    right = modelled("gpipe_by_hand", 2).history.loss
    wrong = twin(twins.a_sum, 2, "digits-mlp", "dgx-a100").values[-1]["losses"]
    assert right[0] == pytest.approx(wrong[0], rel=1e-6)
    assert right[-1] != pytest.approx(wrong[-1], rel=1e-2)


def bubble_of(name, ranks, micro_batches):
    run = modelled(name, ranks, EVEN, FREE, micro_batches=micro_batches)
    return metrics.bubble(run.trace)


@pytest.mark.parametrize("ranks, micro_batches", [(2, 4), (4, 4), (4, 8)])
@pytest.mark.parametrize("name", MICRO_BATCHED)
def test_the_bubble_has_its_closed_form(name, ranks, micro_batches):
    turns = 2 if name == "interleaved" else 1
    bubble = (ranks - 1) / (turns * micro_batches + ranks - 1)
    assert bubble_of(name, ranks, micro_batches) == pytest.approx(bubble, rel=0.02)


def test_bubbles_come_in_the_published_order():
    naive = metrics.bubble(modelled("pipeline_split", 4, EVEN, FREE).trace)
    by_name = [bubble_of(name, 4, 8) for name in ("gpipe", "one_f_one_b", "interleaved")]
    gpipe, one_f_one_b, interleaved = by_name
    assert naive > gpipe == pytest.approx(one_f_one_b, rel=0.01)
    assert gpipe > 1.5 * interleaved


def test_one_micro_batch_at_a_time_is_no_pipeline():
    run = twin(twins.one_at_a_time, 4, EVEN, FREE)
    assert metrics.bubble(run.trace) == pytest.approx(3 / 4, rel=0.02)


def most_kept(run, rank):
    """Return the most micro-batches that this rank has sent on and not got back."""
    there, back = (rank, rank + 1), (rank + 1, rank)
    last = run.trace.of(rank=rank, kind="step")[-1]
    passed = [
        (event.end_s, -1) if event.group == back else (event.start_s, 1)
        for event in run.trace.of(rank=rank, kind="message")
        if event.group in (there, back) and last.start_s <= event.start_s <= last.end_s
    ]
    return max(np.cumsum([change for _, change in sorted(passed)]))


@pytest.mark.parametrize("ending", ["", "_by_hand"])
def test_1f1b_keeps_as_many_micro_batches_as_stages_follow_gpipe_all(ending):
    gpipe, one_f_one_b = (
        modelled(name + ending, 4, EVEN, FREE, micro_batches=8) for name in ("gpipe", "one_f_one_b")
    )
    assert [most_kept(gpipe, rank) for rank in range(3)] == [8, 8, 8]
    assert [most_kept(one_f_one_b, rank) for rank in range(3)] == [4, 3, 2]
    assert all(one_f_one_b.metrics.live_bytes < gpipe.metrics.live_bytes)


@pytest.mark.parametrize("ranks, turns, pieces", [(2, 2, 4), (4, 2, 8), (4, 1, 8), (3, 2, 4)])
def test_every_micro_batch_passes_every_stage_of_a_rank_both_ways(ranks, turns, pieces):
    for rank in range(ranks):
        passes = stages.interleaved(rank, ranks, turns, pieces)
        mine = range(rank, ranks * turns, ranks)
        assert sorted(passes) == sorted(pieces * [(kind, k) for kind in "FB" for k in mine])


WRONG = [
    ("gpipe", dict(micro_batches=3), "3 equal micro-batches"),
    ("gpipe_by_hand", dict(micro_batches=0), "0 equal micro-batches"),
    ("one_f_one_b", dict(micro_batches=2.5), "2.5 equal micro-batches"),
    ("one_f_one_b", dict(micro_batches=2), "2 micro-batches for 4 stages"),
    ("interleaved", dict(stages_per_rank=3), "8 blocks, for 3 stages on each rank"),
    ("interleaved", dict(stages_per_rank="2"), "for '2' stages"),
    ("interleaved", dict(micro_batches=14, batch=28), "no equal rounds of 4"),
    ("data_pipeline", dict(pipelines=3), "no 3 equal pipelines"),
    ("data_pipeline", dict(pipelines=4), "pipelines of 1 stages"),
    ("one_f_one_b_by_hand", dict(micro_batches=128), "128 equal micro-batches"),
]


@pytest.mark.parametrize("name, options, seen", WRONG, ids=[seen for *_, seen in WRONG])
def test_what_cannot_be_is_said_before_any_process_starts(name, options, seen, monkeypatch):
    monkeypatch.setattr(launch, "zygote", lambda *_: pytest.fail("a process was started"))
    with pytest.raises(lab.LabError) as caught:
        lab.train(name, ranks=4, **options)
    assert seen in caught.value.saw

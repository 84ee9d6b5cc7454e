"""A dry run of a strategy does what a computed run does: operations, FLOPs, bytes and messages.

The programs are equal, line by line. Live bytes are equal within 1 %.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from dry_twins import complaints, differences
from matplotlib.text import Text

import lablib as lab
from lablib import strategies, tasks
from lablib.errors import LabError
from lablib.tasks import blocks
from lablib.tasks.chain import Chain
from lablib.tasks.task import Task
from lablib.views import plots

EVERY = [strategies.get(name, "torch").STRATEGY for name in strategies.names("torch")]
DRY = [each.name for each in EVERY if not (each.only_measured or each.only_computed)]
NOT_DRY = [each.name for each in EVERY if each.only_computed]


def first_rows(data):
    return tuple(array[:128] for array in data())


def trained(name, task="digits-mlp", dry=False, **options):
    described = strategies.get(name, "torch").STRATEGY
    if described.step_is_epoch:  # so an epoch must be short
        task = replace(tasks.get(task), data=partial(first_rows, tasks.get(task).data))
    ranks = described.most_ranks or max(described.least_ranks, 4 if task == "digits-mlp" else 2)
    return lab.train(
        name, framework="torch", task=task, **{"ranks": ranks, "steps": 2} | options,
        hardware="dgx-a100", dry=dry, progress=False,
    )  # fmt: skip


@pytest.mark.parametrize("task", ["digits-mlp", "bytes-gpt"])
@pytest.mark.parametrize("name", DRY)
def test_the_program_of_a_dry_run_is_that_of_a_computed_run(name, task):
    assert differences(lambda dry: trained(name, task, dry), name) == []


@pytest.mark.parametrize("name, options", [
    ("ddp", {"find_unused_parameters": True}),
    ("ddp", {"bucket_mb": 0.02}),
    ("fsdp", {"ranks": 3, "batch": 66}),
    ("gpipe", {"micro_batches": 2}),
    ("ddp", {"task": "digits-cnn"}),
    ("fsdp", {"task": "digits-cnn"}),
])  # fmt: skip
def test_so_is_that_of_other_options_and_of_convolutions(name, options):
    assert differences(lambda dry: trained(name, dry=dry, **options), name) == []


@pytest.fixture(scope="module")
def computed():
    return trained("ddp", ranks=2)


@pytest.fixture(scope="module")
def dry():
    return trained("ddp", ranks=2, dry=True)


def test_that_claim_can_fail(computed):
    """The comparison sees other shapes, other messages, and more memory."""
    larger = complaints(computed, trained("ddp", ranks=2, batch=128, dry=True))
    assert any("operation" in each for each in larger)
    assert any("holds" in each for each in larger)
    buckets = complaints(computed, trained("ddp", ranks=2, bucket_mb=0.02, dry=True))
    assert any("all_reduce" in each for each in buckets)


def skips_a_message(me, job):
    """Train, but omit an all-reduce if the run is dry."""
    import torch
    import torch.distributed as dist

    total = torch.ones(3)
    with me.step():
        if not me.dry:
            dist.all_reduce(total)
    return {"losses": [total.sum().item()], "weights": {}}


def test_a_strategy_that_does_something_else_when_it_is_dry_is_caught():
    runs = [trained(skips_a_message, ranks=2, steps=1, dry=dry) for dry in (False, True)]
    (first, *_) = complaints(*runs)
    assert "rank 0, operation" in first


def test_a_dry_run_has_no_losses_and_says_everywhere_that_it_is_dry(dry):
    assert (dry.dry, dry.history, dry.values) == (True, None, [None, None])
    assert (dry.clock, dry.trace.clock) == ("modelled, dry", "modelled, dry")
    assert set(dry.metrics.clock) == {"modelled, dry"}
    assert "s modelled, dry on dgx-a100>" in repr(dry) and "modelled, dry" in dry._repr_html_()
    assert dry.on("t4").clock == dry.on("t4").trace.clock == "modelled, dry"
    for draw in (plots.timeline, plots.steps, plots.messages, plots.matrix):
        texts = [text.get_text() for text in draw(dry.trace).findobj(Text)]
        assert any("modelled, dry" in text for text in texts), draw
    assert set(lab.what_if(dry, "t4").table.clock) == {"modelled, dry"}


def test_its_times_are_those_of_the_computed_run(computed, dry):
    assert [*dry.trace] == [*computed.trace] and (computed.dry, computed.clock) == (
        False,
        "modelled",
    )


def test_its_trace_can_be_saved_and_keeps_its_clock(dry, tmp_path):
    assert lab.Trace.load(dry.trace.save(tmp_path / "trace.json")) == dry.trace


def test_its_model_needs_no_memory():
    wide = [blocks.dense((8192,), 8192)] * 15
    chain = Chain((blocks.dense((64,), 8192), *wide, blocks.logits((8192,), 10)))
    task = Task("a billion weights", chain, tasks.get("digits-mlp").data, 64, 0.1)
    run = lab.train("ddp", task=task, ranks=2, steps=2, hardware="dgx-a100", dry=True)
    assert task.parameters > 1e9
    assert (run.metrics.live_bytes > 3 * task.weight_bytes).all()
    assert (run.metrics.peak_bytes < 500e6).all()


@pytest.mark.parametrize("name", NOT_DRY)
def test_a_strategy_that_needs_values_is_refused_before_any_rank_starts(name):
    with pytest.raises(LabError, match=f"{name} cannot run dry.") as caught:
        trained(name, dry=True)
    assert caught.value.do == "omit dry=True, to compute the values"


def test_refused_are_only_those_that_exchange_keys_or_write_files_or_take_what_comes_first():
    known = {"restart", "secure_aggregation", "parameter_server"}
    assert set(NOT_DRY) == known & set(strategies.names("torch"))


def test_tensorflow_and_a_missing_machine_are_refused_with_what_works():
    with pytest.raises(LabError, match="A run of tensorflow cannot be dry.") as caught:
        lab.train("multi_worker_mirrored", hardware="dgx-a100", dry=True)
    assert "choose framework='torch'" in caught.value.do
    with pytest.raises(LabError, match="A dry run needs modelled hardware") as caught:
        lab.train("ddp", ranks=2, dry=True)
    assert "hardware='dgx-a100'" in caught.value.do

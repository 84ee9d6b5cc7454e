"""`Cluster(..., dry=True)` runs a user's function without values, or says where it needs one."""

from __future__ import annotations

import math

import dry_jobs as jobs
import modelled_jobs
import pytest

import lablib as lab
from lablib.cluster.failures import RankFailed
from lablib.errors import LabError


def dry(job, ranks=1):
    return lab.Cluster(ranks, hardware="dgx-a100", dry=True, timeout_s=60).run(job)


TOOLS = [
    modelled_jobs.ddp,
    modelled_jobs.fsdp,
    modelled_jobs.tensor_parallel,
    modelled_jobs.gpipe,
    modelled_jobs.mesh,
    modelled_jobs.names_its_backend,
    modelled_jobs.objects,
    modelled_jobs.accumulates,
]


@pytest.mark.parametrize("job", TOOLS)
def test_each_of_torchs_ways_has_the_program_of_a_computed_run(job):
    assert dry(job, 4).program == lab.Cluster(4, hardware="dgx-a100").run(job).program


def test_results_of_item_can_be_printed_added_up_logged_and_returned_and_are_not_numbers():
    run = dry(jobs.prints_and_sums_its_losses)
    ((total, shape, is_dry),) = run.values
    assert math.isnan(total) and (shape, is_dry) == ([], True)
    assert run.logs[0].count("loss unknown, unknown") == 2
    assert math.isnan(run.metrics.loss[0]) and run.metrics.steps[0] == 2
    assert repr(lab.Cluster(1, hardware="t4", dry=True)).endswith("modelled as t4, dry, open>")


def test_a_model_can_be_converted_and_objects_are_really_sent():
    assert dry(jobs.converts_its_model).values == [("torch.bfloat16", [4, 8])]
    assert dry(jobs.gathers_objects, 2).values == [[{"rank": 0}, {"rank": 1}]] * 2


@pytest.mark.parametrize("job", jobs.NEED_VALUES, ids=lambda job: job.__name__)
def test_code_that_needs_a_value_is_an_error_at_its_line_with_a_cure(job):
    with pytest.raises(RankFailed) as caught:
        dry(job)
    text = str(caught.value)
    assert "LabError: In a dry run, tensors have shapes but no values." in text
    assert f"saw: {jobs.NEED_VALUES[job]}, which needs the values of a tensor" in text
    assert "do:  skip this line in a dry run, where me.dry is True; or omit dry=True" in text
    assert "saw: dry_jobs.py, line " in text


@pytest.mark.parametrize("job", jobs.NEED_VALUES, ids=lambda job: job.__name__)
def test_the_same_code_runs_if_values_are_computed(job):
    lab.Cluster(1, hardware="dgx-a100").run(job)


def test_a_receive_from_any_rank_is_refused():
    with pytest.raises(RankFailed, match="A dry run cannot receive from any rank."):
        dry(jobs.receives_from_any_rank, 2)


def test_an_operation_without_known_shapes_or_an_unknown_collective_is_refused():
    with pytest.raises(RankFailed, match="does not know the shape of this operation's result"):
        dry(jobs.calls_an_operation_without_shapes)
    with pytest.raises(RankFailed, match="all_reduce_coalesced cannot be used in a dry run."):
        dry(jobs.calls_an_unknown_collective, 2)


def test_ranks_that_disagree_about_a_message_are_found_by_the_simulation():
    with pytest.raises(LabError, match="all_reduce"):
        dry(jobs.only_rank_0_sends, 2).trace  # noqa: B018 - simulated when it is first used


@pytest.mark.parametrize("is_dry", [True, False])
def test_an_operation_whose_cost_nobody_knows_counts_as_0_and_flags_the_run(is_dry):
    cluster = lab.Cluster(1, hardware="dgx-a100", dry=is_dry)
    run = cluster.run(jobs.calls_an_operation_of_its_own)
    flag = "not valid: the cost of mine.twice.default([3, 3]) is unknown and counts as 0"
    assert run.doubt == flag and flag in repr(run)
    assert cluster.run(modelled_jobs.objects).doubt == ""

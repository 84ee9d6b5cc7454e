"""Ordinary programs begin with init_process_group and end with destroy_process_group."""

from __future__ import annotations

import beginnings
import pytest
from beginnings import ACCEPTED, REFUSED

import lablib as lab


@pytest.fixture(scope="module")
def cluster():
    return lab.Cluster(2, timeout_s=60)


@pytest.mark.parametrize("job, values", ACCEPTED, ids=lambda it: getattr(it, "__name__", ""))
def test_a_program_begins_and_ends_as_elsewhere(cluster, job, values):
    assert [shown(value) for value in cluster.run(job).values] == [shown(value) for value in values]


def shown(value):
    """Turn tuples into lists, because they arrive as lists."""
    return list(map(shown, value)) if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("job, wrong, do", REFUSED, ids=lambda it: getattr(it, "__name__", ""))
def test_a_call_that_does_not_fit_the_cluster_says_what_to_write(cluster, job, wrong, do):
    with pytest.raises(lab.RankFailed) as caught:
        cluster.run(job)
    assert wrong in caught.value.wrong and do in caught.value.wrong
    assert "beginnings.py, line" in caught.value.saw


def test_a_rank_that_destroys_its_group_disturbs_no_other(cluster):
    for _ in range(10):
        assert cluster.run(beginnings.destroys_first).values == [None, None]


def test_a_modelled_program_begins_and_ends_in_the_same_way():
    run = lab.Cluster(2, hardware="dgx-a100").run(beginnings.again_after_destroying)
    assert shown(run.values) == [[[4, 4, 4], 2]] * 2
    assert len(run.trace.of(rank=0, kind="message", name="all_reduce")) == 7

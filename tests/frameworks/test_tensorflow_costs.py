"""Programs of TensorFlow ranks: what is counted, in which order, and what cannot be counted."""

from __future__ import annotations

import sys

import jobs
import numpy as np
import pytest
from alone import printed_by

import lablib as lab

N = 64
PRODUCT = 2 * N**3
SMALL = 0.1  # the share of slices, additions and similar operations beside the products
MACHINE = lab.Hardware("a100", per_node=4, within=lab.Link("10 Gbit/s", "10 us"))


@pytest.fixture(scope="module")
def found():
    return printed_by("frameworks/counted_in_tensorflow.py")


def flops(rows, phase=None):
    return sum(row[1] for row in rows if phase in (None, row[0]))


@pytest.mark.parametrize(
    "case, products",
    [
        ("product", 1),
        ("transposed", 8 / N),
        ("in batches", 16 / N),
        ("einsum", 1),
        ("twice", 2),
        ("loop of 7", 7),
        ("loop of 2", 2),
        ("4 loops of 3", 12),
        ("branch", 2),
        ("dense step", 3),
        ("dense step, eager", 3),
        ("loop step of 5", 15),
        ("any batch, 64", 2),
        ("any batch, 128", 4),
    ],
)
def test_products_are_counted_as_often_as_they_ran(found, case, products):
    assert flops(found[case]) == pytest.approx(products * PRODUCT, rel=SMALL)


def test_that_claim_can_fail(found):
    assert flops(found["loop of 7"]) != pytest.approx(6 * PRODUCT, rel=SMALL)


def test_a_convolution_and_its_two_gradients_cost_the_same(found):
    one = 2 * (2 * 8 * 8 * 5) * (3 * 3 * 3)
    assert flops(found["convolution step"]) == pytest.approx(3 * one, rel=SMALL)


def test_bytes_are_those_of_the_tensors_once_each(found):
    assert found["sums"] == [["other", N * N, 4 * (2 * N * N + 1)]]
    assert found["product"] == [["other", PRODUCT, 4 * 3 * N * N]]


def test_views_cost_nothing_and_what_is_not_used_does_not_run(found):
    assert found["views"] == []
    assert found["unused"] == found["sums"]


@pytest.mark.parametrize("case", ["dense step", "dense step, eager"])
def test_the_phases_of_a_step(found, case):
    rows = found[case]
    assert flops(rows, "forward") == pytest.approx(PRODUCT, rel=SMALL)
    assert flops(rows, "backward") == pytest.approx(2 * PRODUCT, rel=SMALL)
    assert 0 < flops(rows, "other") <= 3 * N * N


def test_a_loops_gradient_is_backward(found):
    rows = found["loop step of 5"]
    assert flops(rows, "forward") == pytest.approx(5 * PRODUCT, rel=SMALL)
    assert flops(rows, "backward") == pytest.approx(10 * PRODUCT, rel=SMALL)


def test_what_depends_on_the_data_is_said(found):
    by_data, of_unknown_rank = found["warnings"]
    assert "MatMul" in by_data and "too low" in by_data
    assert "BatchMatMul" in of_unknown_rank and "too low" in of_unknown_rank


def test_seconds_are_shared_as_the_clock_saw_them_pass(found):
    # 6 s before the message, 2 s of message, 2 s after it: of 4 s, 3 s and 1 s.
    assert found["shares"] == pytest.approx([0.75, 2.25, 0, 1])
    assert found["shares without messages"] == pytest.approx([1, 3, 1, 2])


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, where Linux shows threads")
def test_what_a_graph_computes_takes_seconds_of_its_pool(found):
    before_s, after_s = found["cpu seconds before and after"]
    assert after_s > 10 * before_s


def trained(strategy="multi_worker_mirrored", **changes):
    asked = dict(task="digits-mlp", framework="tensorflow", steps=3, hardware=MACHINE) | changes
    return lab.train(strategy, progress=False, timeout_s=110, **asked)


@pytest.fixture(scope="module")
def modelled():
    return trained(ranks=2)


def of_step(run, rank=0, number=1):
    ops = run.program[rank]
    begins = [place for place, op in enumerate(ops) if op.kind == "begin"]
    ends = [place for place, op in enumerate(ops) if op.kind == "step"]
    return ops[begins[number] + 1 : ends[number]]


def counted(ops, phase=None):
    return sum(c.flops * c.count for op in ops for c in op.costs if phase in (None, op.phase))


def test_a_step_computes_sends_waits_and_updates(modelled):
    kinds = [(op.kind, op.phase, op.name) for op in of_step(modelled)]
    assert kinds[:3] == [
        ("compute", "forward", ""),
        ("compute", "backward", ""),
        ("issue", "backward", "all_reduce"),
    ]
    assert kinds[-2:] == [("wait", "other", ""), ("compute", "other", "")]


def test_ranks_that_do_the_same_have_the_same_step(modelled):
    steps = [of_step(modelled, rank, number) for rank in (0, 1) for number in (1, 2)]
    kinds = [[(op.kind, op.phase, op.costs, op.nbytes) for op in step] for step in steps]
    assert all(kind == kinds[0] for kind in kinds)


@pytest.mark.parametrize("threads", [1, 3])
def test_programs_and_traces_are_equal_whatever_the_load(modelled, threads):
    again = trained(ranks=2, threads=threads)
    assert again.program == modelled.program
    assert list(again.trace) == list(modelled.trace)


def test_a_larger_batch_is_another_program(modelled):
    assert trained(ranks=2, batch=128).program != modelled.program


def test_counting_changes_no_number(modelled):
    measured = trained(ranks=2, hardware=None)
    assert measured.clock == "measured" and modelled.clock == "modelled"
    assert measured.history.loss == modelled.history.loss
    for name, array in modelled.history.weights.items():
        assert np.array_equal(array, measured.history.weights[name])


@pytest.mark.parametrize("task", ["digits-mlp", "digits-cnn", "bytes-gpt"])
def test_a_task_costs_the_same_in_both_frameworks(task):
    ours, theirs = (
        of_step(trained("single", task=task, framework=framework, steps=2))
        for framework in ("tensorflow", "torch")
    )
    assert counted(ours) == pytest.approx(counted(theirs), rel=0.1)
    for phase in ("forward", "backward"):
        assert counted(ours, phase) == pytest.approx(counted(theirs, phase), rel=0.1)


def test_messages_in_a_loop_come_in_their_order():
    run = lab.Cluster(2, framework="tensorflow", hardware=MACHINE).run(jobs.sums_in_a_loop)
    assert run.values == [8.0, 8.0]
    kinds = [op.kind for op in of_step(run, number=0)]
    sends = ["issue", "wait"]
    assert [kind for kind in kinds if kind in sends] == 3 * sends
    assert sum(2 * N**3 <= counted([op]) for op in of_step(run, number=0)) == 3


def test_what_is_issued_early_overlaps_with_what_does_not_need_it():
    run = lab.Cluster(2, framework="tensorflow", hardware=MACHINE).run(jobs.sums_two)
    kinds = [op.kind for op in of_step(run, number=0) if op.kind in ("issue", "wait")]
    assert kinds == ["issue", "issue", "wait", "wait"]


def test_what_needs_a_message_waits_for_it():
    run = lab.Cluster(2, framework="tensorflow", hardware=MACHINE).run(jobs.sums_a_sum)
    kinds = [op.kind for op in of_step(run, number=0) if op.kind in ("issue", "wait")]
    assert kinds == ["issue", "wait", "issue", "wait"]


@pytest.mark.parametrize(
    "job, named",
    [
        (jobs.makes_a_dtensor_mesh, "create_distributed_mesh"),
        (jobs.computes_elsewhere, "experimental_connect_to_cluster"),
        (jobs.sums_by_a_raw_operation, "CollectiveReduceV2"),
    ],
)
def test_what_passes_by_is_refused(job, named):
    with pytest.raises(lab.LabError, match=f"{named} cannot be used on modelled hardware"):
        lab.Cluster(2, framework="tensorflow", hardware=MACHINE).run(job)


@pytest.mark.parametrize(
    "job, values", [(jobs.computes_elsewhere, [2.0, None]), (jobs.sums_by_a_raw_operation, [2, 2])]
)
def test_and_is_not_refused_where_it_is_measured(job, values):
    assert lab.Cluster(2, framework="tensorflow").run(job).values == values

"""Real processes on a virtual clock: equal results, and times independent of this computer."""

from __future__ import annotations

import contextlib
import math
import statistics
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial

import modelled_jobs as jobs
import numpy as np
import pytest

import lablib as lab
from lablib.hardware import Device, Hardware, Link
from lablib.record import metrics

# 1 GFLOP/s; memory and links that take no time, and links that limit everything.
SLOW = Device("slow", {"fp32": 1e9}, 1e15, 1e9)
FREE = Hardware(SLOW, per_node=8, within=Link(math.inf, 0.0), name="free links")
NARROW = Hardware(SLOW, per_node=8, within=Link("100 MB/s", "10 us"), name="narrow links")


def modelled(job, ranks=4, hardware="dgx-a100", **options):
    return lab.Cluster(ranks, hardware=hardware, **options).run(job)


def sent(run):
    return Counter((e.rank, e.name, e.nbytes) for e in run.trace.of(kind="message"))


TOOLS = [
    (jobs.ddp, {"all_gather", "broadcast", "all_reduce"}),
    (jobs.fsdp, {"all_gather", "reduce_scatter"}),
    (jobs.tensor_parallel, {"scatter", "broadcast", "all_reduce"}),
    (jobs.gpipe, {"send", "recv"}),
    (jobs.mesh, {"all_reduce"}),
    (jobs.names_its_backend, {"all_reduce"}),
    (jobs.objects, {"all_gather"}),
    (jobs.accumulates, {"all_gather", "broadcast", "all_reduce"}),
]


@pytest.mark.parametrize("job, names", TOOLS, ids=[job.__name__ for job, _ in TOOLS])
def test_each_of_torchs_ways_runs_modelled_with_the_same_result(job, names):
    here, there = lab.Cluster(4).run(job), modelled(job)
    assert there.values == here.values
    assert {event.name for event in there.trace.of(kind="message")} == names
    assert (here.trace.clock, there.trace.clock) == ("measured", "modelled")
    assert set(there.metrics.clock) == {"modelled"}
    assert sent(here) == sent(there)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "gpipe", "tensor_parallel"])
def test_a_modelled_run_has_the_losses_and_weights_of_a_measured_one(strategy):
    here, there = (
        lab.train(strategy, task="digits-mlp", ranks=2, steps=3, threads=1, hardware=hardware,
                  framework="torch", progress=False).history
        for hardware in (None, "dgx-a100")
    )  # fmt: skip
    assert here.loss == there.loss and len(set(here.loss)) == 3
    assert here.weights.keys() == there.weights.keys() != set()
    assert all(np.array_equal(array, there.weights[name]) for name, array in here.weights.items())


def multi_worker_mirrored(hardware, threads=1):
    return lab.train(
        "multi_worker_mirrored", task="cancer-mlp", ranks=2, steps=2, batch=8, hardware=hardware,
        threads=threads, progress=False,
    )  # fmt: skip


# Threads of a rank, and the number of other busy processes.
LOADS = [(1, 0), (2, 1), (4, 2), (8, 1)]


@contextlib.contextmanager
def beside(busy_processes):
    """Keep this number of other processes busy inside this context."""
    command = [sys.executable, "-c", "while True: pass"]
    started = [subprocess.Popen(command) for _ in range(busy_processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def traces(run):
    """Return the trace of `run(threads)` under each of the loads."""
    for threads, busy_processes in LOADS:
        with beside(busy_processes):
            yield run(threads).trace


@pytest.mark.timeout(300)
@pytest.mark.parametrize("job", [jobs.ddp, jobs.fsdp, jobs.gpipe], ids=lambda job: job.__name__)
def test_modelled_runs_are_one_whatever_the_load_and_the_threads(job):
    first, *others = traces(lambda threads: modelled(job, 2, threads=threads))
    assert others == [first] * (len(LOADS) - 1)


@pytest.mark.timeout(300)
def test_modelled_runs_of_tensorflow_are_one_whatever_the_load_and_the_threads():
    first, *others = traces(lambda threads: multi_worker_mirrored("dgx-a100", threads=threads))
    assert len(first.of(kind="message", name="all_reduce")) > 0
    assert others == [first] * (len(LOADS) - 1)


def test_measured_runs_are_not_one():
    assert lab.Cluster(2).run(jobs.ddp).trace != lab.Cluster(2).run(jobs.ddp).trace


def costs(job):
    (ops,) = modelled(job, 1).program
    return [(op.phase, cost) for op in ops if op.kind == "compute" for cost in op.costs]


def test_a_product_costs_two_flops_a_multiplication_and_the_bytes_of_its_matrices():
    product = 2 * 8 * 64 * 32
    forward_bytes, backward_bytes = (4 * n for n in (8 * 64 + 64 * 32 + 8 * 32,) * 2)
    assert ("other", (product, forward_bytes, "fp32", 1)) in costs(jobs.one_layer)
    assert ("backward", (product, backward_bytes, "fp32", 1)) in costs(jobs.one_layer)
    assert sum(cost.flops == product for _, cost in costs(jobs.one_layer)) == 2


def test_the_precision_is_that_of_the_tensors():
    found = [(cost.precision, cost.nbytes) for _, cost in costs(jobs.precisions)]
    assert found == [("fp32", 768), ("bf16", 384), ("fp16", 384), ("fp64", 1536)]


def test_a_collective_bears_the_bytes_that_its_rank_passes():
    trace = modelled(jobs.every_collective).trace
    first, third = (
        [(e.name, e.nbytes) for e in trace.of(rank=rank, kind="message")] for rank in (0, 2)
    )
    assert first == [
        ("broadcast", 16), ("reduce", 16), ("gather", 4), ("scatter", 16), ("all_gather", 4),
        ("all_gather", 4), ("reduce_scatter", 16), ("reduce_scatter", 16), ("all_to_all", 16),
        ("all_to_all", 16), ("barrier", 0),
    ]  # fmt: skip
    others = {3: ("scatter", 0), 9: ("all_to_all", 48)}
    assert third == [others.get(place, message) for place, message in enumerate(first)]


def test_views_empty_tensors_and_those_without_data_cost_nothing():
    assert costs(jobs.views_only) == []


def test_a_layer_without_gradients_costs_its_product():
    ((_, cost),) = costs(jobs.product_without_gradients)
    assert cost.flops == 2 * 8 * 64 * 32


def test_an_operation_is_worked_out_once_and_one_of_another_shape_again():
    (met,) = lab.Cluster(1).run(jobs.kinds_of_operations).values
    assert met[1] == met[2] == met[3] < met[4]


def bubble(stages, micro_batches):
    job = partial(jobs.gpipe, width=512, micro_batch=64, micro_batches=micro_batches)
    trace = modelled(job, stages, FREE).trace
    start_s = trace.of(rank=0, kind="step")[-1].start_s
    passes = [e for e in trace.of(kind="compute") if e.start_s >= start_s and e.phase != "other"]
    busy_s = sum(event.seconds for event in passes) / stages
    return 1 - busy_s / (max(event.end_s for event in passes) - start_s)


@pytest.mark.parametrize("stages, micro_batches", [(2, 4), (4, 4), (4, 8)])
def test_the_bubble_of_gpipe_has_its_closed_form(stages, micro_batches):
    assert bubble(stages, micro_batches) == pytest.approx(
        (stages - 1) / (micro_batches + stages - 1), rel=0.01
    )


def step_s(job, hardware):
    trace = modelled(job, 4, hardware).trace
    return statistics.median(metrics.step_s(trace, rank)[-1] for rank in range(4))


def test_buckets_that_overlap_are_faster_than_without_and_slower_than_compute_alone():
    assert step_s(jobs.alone, NARROW) < step_s(jobs.ddp, NARROW)
    assert step_s(jobs.ddp, NARROW) < step_s(jobs.after_backward, NARROW)


def test_ddp_updates_its_weights_when_the_last_bucket_is_summed():
    trace = modelled(jobs.ddp, 4, NARROW).trace
    step = trace.of(rank=0, kind="step")[-1]
    sums = trace.of(rank=0, kind="message", name="all_reduce")
    busy = [event for event in trace.of(rank=0, kind="compute") if event.end_s <= step.end_s]
    assert busy[-1].phase == "other" and busy[-1].start_s >= sums[-1].end_s > step.start_s


def test_the_same_buckets_are_faster_when_they_overlap():
    waits = partial(jobs.averages_in_a_hook, waits=True)
    overlapping, waiting = (modelled(job, 4, NARROW) for job in (jobs.averages_in_a_hook, waits))
    assert sent(overlapping) == sent(waiting)
    assert step_s(jobs.averages_in_a_hook, NARROW) < step_s(waits, NARROW)


def computes_before_the_sum_ends(trace):
    (ended_s,) = {event.end_s for event in trace.of(name="all_reduce", kind="message")[:1]}
    *_, product = trace.of(rank=0, kind="compute")
    return product.start_s < ended_s


BY_FUTURE = [jobs.waits_by_future, jobs.waits_by_what_follows, jobs.waits_by_all]


@pytest.mark.parametrize("job", BY_FUTURE, ids=lambda job: job.__name__)
def test_who_waits_for_a_future_goes_on_when_the_message_has_ended(job):
    assert not computes_before_the_sum_ends(modelled(job, 2, NARROW).trace)
    assert lab.Cluster(2).run(job).trace.of(kind="wait", name="all_reduce")


def test_that_claim_can_fail():
    assert computes_before_the_sum_ends(modelled(jobs.waits_for_nothing, 2, NARROW).trace)
    assert not lab.Cluster(2).run(jobs.waits_for_nothing).trace.of(kind="wait", name="all_reduce")


def test_a_wait_by_future_is_a_wait_by_handle():
    by_work, by_future, by_what_follows = (
        [[(op.kind, op.costs) for op in ops] for ops in modelled(job, 2, NARROW).program]
        for job in (jobs.waits_by_work, jobs.waits_by_future, jobs.waits_by_what_follows)
    )
    assert by_work == by_future == by_what_follows
    assert "wait" in {kind for kind, _ in by_work[0]}


def test_hooks_of_ddp_overlap_as_without_them():
    here, there = lab.Cluster(2).run(jobs.ddp), modelled(jobs.averages_in_a_hook, 2, NARROW)
    assert there.values == here.values
    assert step_s(jobs.averages_in_a_hook, NARROW) == pytest.approx(step_s(jobs.ddp, NARROW), 0.05)


def test_a_monitored_barrier_is_a_barrier():
    run = modelled(jobs.monitored, 3, NARROW)
    assert [event.name for event in run.trace.of(kind="message")] == 3 * ["barrier"]
    assert run.trace.of(kind="message")[0].seconds > 0
    assert len(lab.Cluster(3).run(jobs.monitored).trace.of(kind="wait", name="barrier")) == 3


def test_a_straggler_sets_the_pace():
    even, uneven = (modelled(jobs.ddp, 4, replace(FREE, slow=slow)) for slow in ({}, {2: 3.0}))
    for rank in range(4):
        slower = metrics.step_s(uneven.trace, rank)[-1] / metrics.step_s(even.trace, rank)[-1]
        assert slower == pytest.approx(3.0, rel=0.05)


def test_who_receives_from_anybody_has_one_possible_run_and_says_so():
    assert "one possible run" in repr(modelled(jobs.from_anybody, 3))
    assert "possible" not in repr(modelled(partial(jobs.from_anybody, source=True), 3))
    assert "possible" not in repr(lab.Cluster(3).run(jobs.from_anybody))


def test_ranks_fill_the_nodes_of_the_hardware():
    two_a_node = Hardware("t4", nodes=3, per_node=2, within="pcie3", between=Link("10 Gbit/s"))
    assert modelled(lambda me: me.node, 5, two_a_node).values == [0, 0, 1, 1, 2]


def test_a_step_begins_where_it_begins():
    trace = modelled(jobs.ddp, 2, NARROW).trace
    first = trace.of(rank=0, kind="step")[0]
    made = trace.of(rank=0, name="broadcast", kind="message")[1]
    assert first.start_s >= made.end_s > 0


NEW_RUNS = {
    job.__name__: partial(modelled, job, 4) for job in (jobs.ddp, jobs.fsdp, jobs.gpipe)
} | {"multi_worker_mirrored": multi_worker_mirrored}


@pytest.mark.parametrize("new", NEW_RUNS.values(), ids=list(NEW_RUNS))
def test_what_if_is_a_new_run_on_that_machine_bit_for_bit(new):
    machines = ["ethernet-10", NARROW, FREE]
    answer = lab.what_if(new("dgx-a100"), hardware=machines)
    assert [run.trace for run in answer.runs[1:]] == [new(machine).trace for machine in machines]
    assert len({run.trace for run in answer.runs}) == 4
    assert list(answer.table.hardware) == ["dgx-a100", "ethernet-10", "narrow links", "free links"]
    assert set(answer.table.clock) == {"modelled"}


def test_what_if_moves_the_ranks_to_the_nodes_of_that_machine():
    two_a_node = Hardware("t4", nodes=2, per_node=2, within="pcie3", between=Link("10 Gbit/s"))
    here, there = lab.what_if(modelled(jobs.mesh, 4), two_a_node).runs
    assert list(here.metrics.node) == [0, 0, 0, 0]
    assert (
        list(there.metrics.node)
        == [0, 0, 1, 1]
        == list(modelled(jobs.mesh, 4, two_a_node).metrics.node)
    )


def test_what_if_takes_one_machine_too_and_shows_itself():
    answer = lab.what_if(modelled(jobs.ddp, 2), "t4")
    assert len(answer.table) == 2
    assert "t4" in answer._repr_html_() and "2 machines" in repr(answer)


def test_a_measured_run_says_why_it_cannot_be_played_elsewhere():
    with pytest.raises(lab.LabError, match="not counted") as caught:
        lab.what_if(lab.Cluster(2).run(jobs.ddp), "t4")
    assert "hardware='t4'" in caught.value.do


def test_a_measured_run_can_be_played_on_this_computer_with_its_cpu_seconds():
    host = Hardware(Device("host", {"fp32": 1e9}, 1e9, 1e9), per_node=2, within=Link("1 GB/s"))
    run = lab.Cluster(2).run(jobs.ddp)
    answer = lab.what_if(run, host)
    assert list(answer.table.clock) == ["measured", "modelled"]
    counted = modelled(jobs.ddp, 2)
    with pytest.raises(lab.LabError, match="no CPU seconds"):
        lab.what_if(counted, host)


def test_what_passes_the_process_group_by_is_refused():
    with pytest.raises(lab.LabError, match="init_rpc cannot be used on modelled hardware"):
        modelled(jobs.calls_remotely, 2)


REFUSED = [
    (dict(ranks=9, hardware=NARROW), "9 ranks"),
    (dict(ranks=4, hardware="dgx-a101"), "dgx-a100"),
    (dict(ranks=4, hardware=3), "known"),
    (dict(ranks=4, nodes=2, hardware="dgx-a100"), "nodes=2"),
    (
        dict(roles={"worker": 1, "ps": 1}, framework="tensorflow", hardware="dgx-a100"),
        "'ps'",
    ),
]


@pytest.mark.parametrize("asked, seen", REFUSED, ids=[seen for _, seen in REFUSED])
def test_what_cannot_be_modelled_is_said_before_any_rank_starts(asked, seen):
    with pytest.raises(lab.LabError) as caught:
        lab.Cluster(**asked)
    assert seen in caught.value.saw
    assert caught.value.do

"""The simulator can play plans, and the results agree with closed forms."""

import pytest
from pipeline_orders import gpipe, one_f_one_b

from lablib.errors import LabError
from lablib.hardware import Hardware, Link
from lablib.hardware.device import Device
from lablib.hardware.network import point_to_point_s
from lablib.record import metrics, plans
from lablib.record.cost import Cost
from lablib.record.simulator import simulate
from lablib.strategies.stages import interleaved

DEVICE = Device("unit", {"fp32": 1e9}, 1e15, 1e12)
LAYER = plans.PlannedLayer(Cost(1e6), 1000)  # 1 ms forward, 2 ms backward


def machine(ranks, bytes_per_s=1e15, latency_s=0.0):
    return Hardware(DEVICE, per_node=ranks, within=Link(bytes_per_s, latency_s), all_reduce="ring")


def step_s(trace):
    return metrics.step_s(trace, 0)[-1]


def test_one_rank_computes_and_sends_nothing():
    trace = simulate(plans.data_parallel([LAYER] * 4, ranks=1, bucket_bytes=1000), machine(1))
    assert step_s(trace) == pytest.approx(4 * 0.003)
    assert not trace.of(kind="message")


def test_one_bucket_waits_for_the_whole_backward_pass_and_more_buckets_hide():
    slow = machine(2, bytes_per_s=1e6)  # 1000 bytes: a ring of 2 takes 1 ms
    whole, each = (
        step_s(simulate(plans.data_parallel([LAYER] * 4, 2, bucket), slow))
        for bucket in (4000, 1000)
    )
    assert whole == pytest.approx(0.012 + 0.004)
    assert each == pytest.approx(0.012 + 0.001)


@pytest.mark.parametrize("bucket_bytes, sizes", [(1, [1000] * 5), (2000, [2000, 2000, 1000])])
def test_buckets_hold_all_gradients(bucket_bytes, sizes):
    (ops, _) = plans.data_parallel([LAYER] * 5, 2, bucket_bytes, steps=1)
    assert [op.nbytes for op in ops if op.kind == "issue"] == sizes


@pytest.mark.parametrize("stages, pieces", [(2, 2), (4, 8)])
def test_gpipe_and_1f1b_have_the_bubble_of_their_closed_form(stages, pieces):
    for orders in (
        [gpipe(rank, pieces) for rank in range(stages)],
        [one_f_one_b(rank, stages, pieces) for rank in range(stages)],
    ):
        trace = simulate(plans.pipeline(orders, [LAYER] * stages, 1), machine(stages))
        expected = (stages - 1) / (pieces + stages - 1)
        assert metrics.bubble(trace) == pytest.approx(expected)


def test_turns_divide_the_bubble():
    orders = [interleaved(rank, 4, turns=2, pieces=8) for rank in range(4)]
    half = plans.PlannedLayer(Cost(5e5), 0)
    trace = simulate(plans.pipeline(orders, [half] * 8, 1), machine(4))
    assert metrics.bubble(trace) == pytest.approx(3 / (2 * 8 + 3))


def test_what_is_handed_on_takes_its_time():
    slow = machine(2, bytes_per_s=1e6, latency_s=0.001)
    orders = [gpipe(rank, 1) for rank in range(2)]
    trace = simulate(plans.pipeline(orders, [LAYER] * 2, 1000, steps=1), slow)
    hop_s = point_to_point_s(1000, slow.within)
    assert step_s(trace) == pytest.approx(2 * 0.003 + 2 * hop_s)


@pytest.mark.parametrize("orders", [[gpipe(0, 2)], [gpipe(0, 2), gpipe(0, 2), gpipe(1, 2)]])
def test_a_stage_on_no_rank_or_on_two_is_told(orders):
    with pytest.raises(LabError, match="one rank"):
        plans.pipeline(orders, [LAYER] * 2, 1)


def test_layers_share_the_parameters():
    model = plans.layers(4, parameters=1e6, samples=8)
    assert sum(layer.weight_bytes for layer in model) == 4e6
    assert sum(layer.forward.flops + layer.backward.flops for layer in model) == 6 * 1e6 * 8

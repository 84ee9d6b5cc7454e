"""No record leaves its rank in TensorFlow: canaries are in no packet on the ranks' own network.

`test_canaries.py` does the same in torch, where the relay is a stricter witness.
"""

from __future__ import annotations

import os
import sys
from functools import partial

import canaries
import cloudpickle
import pytest
import sent_bytes
from canaries import RANKS, STEPS, TASK, VECTOR

import lablib as lab
from lablib import strategies
from lablib.strategies import masks

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="packets are captured as Linux does it"),
]
for module in (canaries, sent_bytes, sys.modules[__name__]):
    cloudpickle.register_pickle_by_value(module)


def captured(me, train, job, outside):
    """Run a strategy; rank 0 also returns the packets of all ranks, None if it may not."""
    if me.rank > 0:
        return train(me, job), None
    if not sent_bytes.own_network(outside):
        return train(me, job), None
    with sent_bytes.captured() as flows:
        value = train(me, job)
    lost = flows.pop("lost")
    return value, {"lost": lost, "flows": [bytes(flow) for flow in flows.values()]}


def run(train, **options):
    """Return (the run, the bytes of all packets); skip the test if they may not be read."""
    job = strategies.Job(TASK, STEPS, TASK.batch, options=options)
    outside = os.readlink("/proc/self/ns/net")
    function = partial(captured, train=train, job=job, outside=outside)
    done = lab.Cluster(RANKS, framework="tensorflow", timeout_s=200).run(function)
    seen = done.values[0][1]
    if seen is None:
        pytest.skip("the ranks have no network of their own whose packets they may read")
    assert seen["lost"] == 0
    return done, b"\n".join(seen["flows"])


def of(name, **options):
    module = strategies.get(name, "tensorflow")
    return partial(module.train), module.STRATEGY.chosen(options)


FEDERATED = [
    ("fedavg", {"skew": 0.5, "local_epochs": 2}, {("all_reduce", VECTOR)}),
    ("fedprox", {"drop": 0.3}, {("all_reduce", VECTOR)}),
    ("local_only", {}, set()),
    ("secure_aggregation", {"drop": 0.3},
     {("all_reduce", RANKS * masks.KEY_BYTES), ("all_reduce", VECTOR)}),
    ("dp_sgd", {"noise": 0.0, "clip": 1e9}, {("all_reduce", VECTOR)}),
]  # fmt: skip


def test_every_federated_strategy_is_tested_here():
    assert canaries.federated("tensorflow") == {name for name, *_ in FEDERATED}


@pytest.mark.parametrize("name, options, allowed", FEDERATED)
def test_no_record_is_in_any_packet(name, options, allowed):
    train, chosen = of(name, **options)
    done, packets = run(train, **chosen)
    values = dict(enumerate(value for value, _ in done.values))
    assert canaries.found_in(packets + canaries.returned(values, done.logged)) == []
    events = done.trace.of(kind="message")
    assert {(event.name, event.nbytes) for event in events} == allowed
    # The capture has seen at least what a ring all-reduce sends.
    assert len(packets) > sum(event.wire_bytes for event in events)


def with_other_sums(me, job, change):
    """Run fedavg; `change(sums_over_ranks, arrays, record)` replaces its all-reduce."""
    import tensorflow as tf

    from lablib.strategies import tensorflow_hospital

    record, right = canaries.a_record(me, job), tensorflow_hospital.sums_over_ranks
    # A tensor would start TensorFlow, and MultiWorkerMirroredStrategy must come first.
    tensorflow_hospital.sums_over_ranks = lambda arrays: change(right, arrays, tf.constant(record))
    return strategies.get("fedavg", "tensorflow").train(me, job)


def sums_a_record(me, job):
    """Pass a record to an all-reduce of its own; the sum hides it, but not from the neighbour."""

    def change(sums_over_ranks, arrays, record):
        sums_over_ranks([record])
        return sums_over_ranks(arrays)

    return with_other_sums(me, job, change)


def hides_two_values_among_the_weights(me, job):
    """Send two values of a record instead of the last two biases, so that no size changes."""

    def change(sums_over_ranks, arrays, record):
        *others, last = arrays
        return sums_over_ranks([*others, record[4 : 4 + last.shape[0]]])

    return with_other_sums(me, job, change)


LEAKS = [
    (sums_a_record, {("all_reduce", 52), ("all_reduce", VECTOR)}),
    (hides_two_values_among_the_weights, {("all_reduce", VECTOR)}),
]


@pytest.mark.parametrize("twin, messages", LEAKS, ids=lambda of: getattr(of, "__name__", ""))
def test_that_claim_can_fail_a_record_in_a_packet_is_found(twin, messages):
    done, packets = run(twin, **of("fedavg")[1])
    assert any(leak.endswith("as float32") for leak in canaries.found_in(packets))
    events = done.trace.of(kind="message")
    assert {(event.name, event.nbytes) for event in events} == messages

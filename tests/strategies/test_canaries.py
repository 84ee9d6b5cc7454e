"""No record leaves its rank: canary records are in no byte that any federated strategy sends.

In the kit all processes run on one computer and can read the file with all records. What counts is
what they send to each other and return. Weights that were trained on a record can still reveal it:
the last test reads a record from the weights of a hospital that has no other record.
"""

from __future__ import annotations

import sys
from functools import partial

import canaries
import cloudpickle
import numpy as np
import pytest
import sent_bytes
from canaries import FEATURES, MODEL, RANKS, STEPS, TASK, VECTOR, a_record, found_in
from noise import looks_like_noise

import lablib as lab
from lablib import strategies
from lablib.box.box import Box
from lablib.box.limits import Limits
from lablib.frameworks.torch.relay_link import HEADER
from lablib.strategies import masks

pytestmark = [pytest.mark.timeout(300), pytest.mark.needs("bubblewrap")]
for module in (canaries, sys.modules[__name__]):
    cloudpickle.register_pickle_by_value(module)


@pytest.fixture(scope="module")
def box():
    with Box("torch", limits=Limits(timeout_s=60)) as box:
        yield box


@pytest.fixture
def relayed(box, monkeypatch):
    """Return a function that runs a strategy and returns (run, what each rank sent)."""

    def run(train, task=TASK, ranks=RANKS, steps=STEPS, batch=None, **options):
        job = strategies.Job(task, steps, batch or task.batch, options=options)
        return sent_bytes.through_the_relay(box, monkeypatch, partial(train, job=job), ranks)

    return run


def of(name, **options):
    """Return (train, all its options) of a torch strategy."""
    module = strategies.get(name, "torch")
    return module.train, module.STRATEGY.chosen(options)


UNEQUAL = {"skew": 0.5, "local_epochs": 2, "drop": 0.3}
# The only messages that each strategy may send.
FEDERATED = [
    ("fedavg", {}, {("all_reduce", VECTOR)}),
    ("fedavg", UNEQUAL, {("all_reduce", VECTOR)}),
    ("fedprox", UNEQUAL, {("all_reduce", VECTOR)}),
    ("scaffold", UNEQUAL, {("all_reduce", 2 * VECTOR)}),
    ("local_only", {"skew": 0.5}, set()),
    (
        "secure_aggregation",
        UNEQUAL,
        {("all_reduce", RANKS * masks.KEY_BYTES), ("all_reduce", VECTOR)},
    ),
    ("dp_sgd", {"skew": 0.5}, {("all_reduce", VECTOR)}),
    ("dp_sgd", {"noise": 0.0, "clip": 1e9}, {("all_reduce", VECTOR)}),
]


def test_every_federated_strategy_is_tested_here():
    assert canaries.federated("torch") == {name for name, *_ in FEDERATED}


@pytest.mark.parametrize("name, options, allowed", FEDERATED)
def test_no_record_is_in_any_byte_that_a_rank_sends_or_returns(relayed, name, options, allowed):
    train, chosen = of(name, **options)
    done, sent = relayed(train, **chosen)
    assert found_in(b"".join(sent) + canaries.returned(done.values, done.run.logged)) == []
    assert {(message, nbytes) for _, message, nbytes in done.put_in} == allowed
    recorded = {(event.name, event.nbytes) for event in done.run.trace.of(kind="message")}
    assert recorded == allowed
    # Every frame is a header and a payload, so nothing was overlooked.
    assert sum(map(len, sent)) == sum(HEADER.size + nbytes for *_, nbytes in done.put_in)


def fedavg(me, job):
    return strategies.get("fedavg", "torch").train(me, job)


def gathers_a_record(me, job):
    import torch
    import torch.distributed as dist

    mine = torch.from_numpy(a_record(me, job))
    dist.all_gather([torch.empty_like(mine) for _ in range(me.ranks)], mine)
    return fedavg(me, job)


def sends_a_record_to_a_neighbour_in_float64(me, job):
    import torch
    import torch.distributed as dist

    mine = torch.from_numpy(a_record(me, job)).double()
    came = torch.empty_like(mine)
    sending = dist.isend(mine, (me.rank + 1) % me.ranks)
    dist.recv(came, (me.rank - 1) % me.ranks)
    sending.wait()
    return fedavg(me, job)


def hides_two_values_among_the_weights(me, job):
    """Write a piece of a record over two weights of the all-reduce, which keeps its size."""
    import torch
    import torch.distributed as dist

    all_reduce = dist.all_reduce

    def with_a_stowaway(tensor):
        tensor[1001:1003] = torch.from_numpy(a_record(me, job)[4:6])
        return all_reduce(tensor)

    dist.all_reduce = with_a_stowaway
    return fedavg(me, job)


def returns_a_record(me, job):
    value = fedavg(me, job)
    return value | {"weights": value["weights"] | {"hospital": a_record(me, job)}}


def logs_a_value(me, job):
    me.log(age=float(a_record(me, job)[0]))
    return fedavg(me, job)


LEAKS = [
    (gathers_a_record, "as float32", {("all_gather", 52), ("all_reduce", VECTOR)}),
    (sends_a_record_to_a_neighbour_in_float64, "as float64",
     {("send", 104), ("all_reduce", VECTOR)}),
    (hides_two_values_among_the_weights, "as float32", {("all_reduce", VECTOR)}),
    (returns_a_record, "as float32", {("all_reduce", VECTOR)}),
    (logs_a_value, "as text", {("all_reduce", VECTOR)}),
]  # fmt: skip


@pytest.mark.parametrize("twin, form, messages", LEAKS, ids=lambda of: getattr(of, "__name__", ""))
def test_that_claim_can_fail_a_record_that_leaves_is_found(relayed, twin, form, messages):
    done, sent = relayed(twin, **of("fedavg")[1])
    leaks = found_in(b"".join(sent) + canaries.returned(done.values, done.run.logged))
    assert sum(leak.endswith(form) for leak in leaks) >= RANKS
    assert {(message, nbytes) for _, message, nbytes in done.put_in} == messages


# --- what can be read from one message


def all_reduces(frames: bytes, dtype) -> list[np.ndarray]:
    """Return what one rank passed to its all-reduces, in order."""
    found, start = [], 0
    while start < len(frames):
        *_, nbytes = HEADER.unpack_from(frames, start)
        start += HEADER.size
        found += [np.frombuffer(frames[start : start + nbytes], dtype)] * (nbytes == VECTOR)
        start += nbytes
    return found


def in_order_of_torch():
    """Return the initial weights as one vector; the kernels of torch are transposed."""
    return np.concatenate([array.T.ravel() for array in TASK.weights().values()])


def sends_without_masks(me, job):
    masks.mask = lambda seed, number, length: np.zeros(length, np.uint32)
    return strategies.get("secure_aggregation", "torch").train(me, job)


def test_what_secure_aggregation_really_sends_is_noise(relayed):
    train, chosen = of("secure_aggregation")
    _, sent = relayed(train, steps=10, **chosen)
    messages = [numbers for frames in sent for numbers in all_reduces(frames, np.uint32)]
    assert len(messages) == 10 * RANKS
    assert looks_like_noise(messages, in_order_of_torch())


@pytest.mark.parametrize("name", ["fedavg", "no masks"])
def test_that_claim_about_noise_can_fail(relayed, name):
    train, chosen = of("fedavg" if name == "fedavg" else "secure_aggregation")
    _, sent = relayed(sends_without_masks if name == "no masks" else train, steps=1, **chosen)
    assert not looks_like_noise(all_reduces(sent[0], np.uint32), in_order_of_torch())


ALONE = lab.Task("one each", MODEL, partial(canaries.records, 2), batch=2, lr=0.1, momentum=0.0)


def moved_by_fedavg(frames):
    return in_order_of_torch() - all_reduces(frames, np.float32)[0] / 0.5


def moved_by_secure_aggregation(frames):
    numbers = masks.real_numbers(all_reduces(frames, np.uint32)[0], fraction_bits=20)
    return in_order_of_torch() - numbers / 0.5


def moved_by_dp_sgd(frames):
    return all_reduces(frames, np.float32)[0]


def record_read_from(moved):
    """Return what the change of the first layer says about the only record of a hospital.

    For each unit, the gradients of its weights are the record times the gradient of its bias.
    """
    units = len(ALONE.weights()["0.dense.bias"])
    kernel, bias = np.split(moved[: units * (FEATURES + 1)], [units * FEATURES])
    unit = np.abs(bias).argmax()
    return kernel.reshape(units, FEATURES)[unit] / bias[unit]


READERS = [
    ("fedavg", of("fedavg"), moved_by_fedavg, True),
    ("secure_aggregation", of("secure_aggregation"), moved_by_secure_aggregation, False),
    ("without masks", (sends_without_masks, of("secure_aggregation")[1]),
     moved_by_secure_aggregation, True),
    ("dp_sgd", of("dp_sgd"), moved_by_dp_sgd, False),
    ("without noise", of("dp_sgd", noise=0.0), moved_by_dp_sgd, True),
]  # fmt: skip


@pytest.mark.parametrize("name, strategy, moved, reveals", READERS, ids=[row[0] for row in READERS])
def test_weights_are_not_anonymous_unless_masks_or_noise_hide_them(
    relayed, name, strategy, moved, reveals
):
    train, chosen = strategy
    _, sent = relayed(train, task=ALONE, ranks=2, steps=1, **chosen)
    guess = record_read_from(moved(sent[0]))
    is_a_record = min(np.abs(guess - row).max() for row in canaries.records(2)[0]) < 0.02
    assert is_a_record == reveals

"""Wire bytes sort the strategies by the cost of their traffic; payloads do not.

Other tests compare each closed form with the trace, strategy by strategy.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

import lablib as lab
from lablib import strategies
from lablib.record import metrics


def expected(name, ranks=4, task="wide-mlp"):
    task = lab.tasks.get(task)
    return strategies.get(name, "torch").expected(task, ranks, task.batch)


@pytest.mark.parametrize("ranks", [2, 4, 8])
@pytest.mark.parametrize("name, times", [
    ("ddp_by_hand", 1), ("gradient_accumulation", 1), ("zero1_by_hand", 1), ("zero2_by_hand", 1),
    ("fsdp", 1.5),
])  # fmt: skip
def test_on_a_ring_sharded_gradients_and_optimizer_cost_nothing_and_weights_a_half_more(
    name, times, ranks
):
    ddp = expected("ddp", ranks).wire_bytes
    assert ddp == 2 * (ranks - 1) / ranks * lab.tasks.get("wide-mlp").weight_bytes
    assert expected(name, ranks).wire_bytes == pytest.approx(times * ddp, rel=1e-3)


def test_zero3_by_hand_gathers_all_weights_but_the_first_blocks_twice():
    first, *_ = lab.tasks.get("wide-mlp").chain
    ddp, saved = expected("ddp").wire_bytes, 3 / 4 * 4 * first.parameters
    assert expected("zero3_by_hand").wire_bytes == pytest.approx(1.5 * ddp - saved, rel=1e-3)


def test_that_order_is_not_the_order_of_the_payloads():
    def payload(name):
        return sum(nbytes for _, nbytes in expected(name).messages.values())

    assert payload("zero2_by_hand") > 1.2 * payload("ddp")


@pytest.fixture(scope="module")
def ddp():
    return lab.train("ddp", ranks=4, steps=4, hardware="dgx-a100", progress=False)


def test_a_run_shows_them_and_a_closed_form_that_takes_payload_for_wire_bytes_is_caught(ddp):
    form = expected("ddp", 4, "digits-mlp")
    assert metrics.wire_bytes_per_rank(ddp.trace) == form.wire_bytes
    assert form.complaints(ddp) == []
    ((_, payload),) = form.messages.values()
    (complaint,) = replace(form, wire_bytes=payload / 4).complaints(ddp)
    assert complaint.startswith("wire: ")

"""This computer, measured as hardware."""

from __future__ import annotations

import pytest

import lablib as lab
from lablib.hardware import Link, network
from lablib.training import measured_hardware


@pytest.mark.parametrize("ranks", [2, 4])
def test_alpha_and_beta_are_found_where_messages_follow_them_exactly(ranks):
    alpha_s, bytes_per_s = 50e-6, 1e9
    seconds = {
        n: 2 * (ranks - 1) * network.point_to_point_s(n / ranks, Link(bytes_per_s, alpha_s))
        for n in (8, 4096, 2**20, 2**23)
    }
    link = measured_hardware._fitted(seconds, ranks)
    assert link.latency_s == pytest.approx(alpha_s, rel=1e-3)
    assert link.bytes_per_s == pytest.approx(bytes_per_s, rel=1e-3)
    slower = measured_hardware._fitted({n: 2 * s for n, s in seconds.items()}, ranks)
    assert slower.bytes_per_s == pytest.approx(bytes_per_s / 2, rel=1e-3)


def test_a_computer_too_busy_to_be_measured_says_so():
    with pytest.raises(lab.LabError, match="too busy"):
        measured_hardware._fitted({8: 2e-3, 2**23: 1e-3}, 2)


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_this_computer_becomes_hardware_that_a_measured_run_can_be_played_on(framework):
    hardware = lab.Hardware.measure(framework)
    assert hardware.device.is_host and hardware.ranks == 2
    assert hardware.device.rate("fp32") > 1e8 and hardware.device.bytes_per_s > 1e7
    assert hardware.within.bytes_per_s > 1e6
    strategy = {"torch": "ddp", "tensorflow": "multi_worker_mirrored"}[framework]
    run = lab.train(strategy, ranks=2, steps=3, progress=False)
    answer = lab.what_if(run, hardware)
    assert list(answer.table.clock) == ["measured", "modelled"]
    assert (answer.table.step_s > 0).all()


@pytest.mark.parametrize(
    "asked, seen", [(dict(framework="jax"), "jax"), (dict(ranks=1), "ranks=1")]
)
def test_what_cannot_be_measured_is_said(asked, seen):
    with pytest.raises(lab.LabError) as caught:
        lab.Hardware.measure(**asked)
    assert seen in caught.value.saw

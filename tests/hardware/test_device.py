"""The roofline is the slower of computing and moving; invalid devices are refused."""

from __future__ import annotations

import pickle

import pytest

from lablib.errors import LabError
from lablib.hardware import Device

# Its roof bends at 4 FLOPs a byte.
PLAIN = Device("plain", {"fp32": "8 GFLOP/s", "fp16": "32 GFLOP/s"}, "2 GB/s", "1 GB")


@pytest.mark.parametrize(
    "flops, nbytes, precision, seconds",
    [
        (16e9, 1e9, "fp32", 2.0),  # 2 s to compute, 0.5 s to move
        (4e9, 4e9, "fp32", 2.0),  # 0.5 s to compute, 2 s to move
        (8e9, 2e9, "fp32", 1.0),  # at the bend both take 1 s
        (16e9, 1e9, "fp16", 0.5),
        (0, 1e9, "no such type", 0.5),  # an operation without FLOPs needs no rate
    ],
)
def test_an_operation_takes_the_longer_of_computing_and_moving(flops, nbytes, precision, seconds):
    assert PLAIN.seconds(flops, nbytes, precision) == seconds


def test_that_claim_can_fail():
    assert PLAIN.seconds(16e9, 1e9) != 16e9 / 8e9 + 1e9 / 2e9  # not the sum
    assert PLAIN.seconds(16e9, 1e9) != min(16e9 / 8e9, 1e9 / 2e9)


def test_a_small_operation_takes_as_long_as_starting_it():
    slow_start = Device("d", {"fp32": 1e9}, 1e9, 1e9, "5 us")
    assert slow_start.seconds(flops=1, nbytes=4) == pytest.approx(5e-6)
    assert slow_start.seconds(flops=1e6, nbytes=4) == 1e-3
    assert PLAIN.seconds(flops=8, nbytes=4) < 5e-6


def test_a_missing_precision_takes_the_next_wider_else_the_widest():
    assert PLAIN.rate("bf16") == PLAIN.rate("tf32") == 8e9
    assert PLAIN.rate("fp8") == 32e9
    assert Device("tpu", {"bf16": 1e12}, 1e9, 1e9).rate("fp32") == 1e12


def test_only_the_device_host_is_this_computer():
    assert Device("host", {"fp32": 1e9}, 1e9, 1e9).is_host
    assert not PLAIN.is_host


def test_devices_are_values():
    assert pickle.loads(pickle.dumps(PLAIN)) == PLAIN
    assert hash(PLAIN) == hash(pickle.loads(pickle.dumps(PLAIN)))


@pytest.mark.parametrize(
    "rates, bandwidth, memory, words",
    [
        ({}, "1 GB/s", "1 GB", "FLOP/s for each precision"),
        ({"float32": 1e9}, "1 GB/s", "1 GB", "float32"),
        (1e9, "1 GB/s", "1 GB", "FLOP/s for each precision"),
        ({"fp32": "1 GFLOPS"}, "1 GB/s", "1 GB", "1 GFLOPS"),
        ({"fp32": 0}, "1 GB/s", "1 GB", "above 0"),
        ({"fp32": 1e9}, -1.0, "1 GB", "above 0"),
        ({"fp32": 1e9}, "1 GB/s", float("nan"), "memory_bytes of device d must be above 0"),
        ({"fp32": 1e9}, "1 GB", "1 GB", "'1 GB'"),
    ],
)
def test_what_no_device_can_be_is_told(rates, bandwidth, memory, words):
    with pytest.raises(LabError) as error:
        Device("d", rates, bandwidth, memory)
    assert words in str(error.value)


def test_a_start_below_zero_is_told():
    with pytest.raises(LabError, match="0 or above"):
        Device("d", {"fp32": 1e9}, 1e9, 1e9, -1.0)


def test_an_unknown_precision_is_told():
    with pytest.raises(LabError, match="no such precision"):
        PLAIN.rate("float")


@pytest.mark.parametrize("name", [3, None, ""])
def test_a_name_that_is_none_is_told(name):
    with pytest.raises(LabError, match="name of a device must be a text"):
        Device(name, {"fp32": 1e9}, 1e9, 1e9)


@pytest.mark.parametrize("flops, nbytes", [(-1, 0), (0, -1), ("1", 0), (0, None), (True, 0)])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_is_no_amount_is_told(flops, nbytes, precision):
    with pytest.raises(LabError, match="at least 0") as error:
        PLAIN.seconds(flops, nbytes, precision)
    assert f"flops={flops!r}, nbytes={nbytes!r}" in error.value.saw
    assert PLAIN.seconds(0, 0, precision) == 0

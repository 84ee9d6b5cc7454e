"""The values that a rank gets when it asks for its device and moves values there."""

from __future__ import annotations

import moved_to_the_device as jobs

import lablib as lab


def test_on_the_cpu_nothing_is_copied():
    assert lab.Cluster(1).run(jobs.on_the_cpu).values[0] == {
        "device": "cpu",
        "the tensor itself": True,
        "the module itself": True,
        "the memory of the array": True,
        "its shape": [2, 3],
    }


def test_on_another_device_everything_is_moved():
    assert lab.Cluster(1).run(jobs.elsewhere).values == [["meta"] * 4]


def test_what_cannot_be_moved_is_named():
    number, texts, backwards, nothing = lab.Cluster(1).run(jobs.wrongly).values[0]
    for error in (number, texts, backwards, nothing):
        assert error.startswith("me.put cannot move this value to the device of the rank.")
    assert "a value of type int" in number and "NoneType" in nothing
    assert "an array of <U1" in texts and "stride" in backwards


def test_tensorflow_ranks_have_neither():
    device, put = lab.Cluster(1, framework="tensorflow").run(jobs.in_tensorflow).values[0]
    assert device.startswith("me.torch_device is for PyTorch only.")
    assert put.startswith("me.put is for PyTorch only.")

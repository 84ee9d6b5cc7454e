"""Which devices ranks can compute on, and the errors for all others. No GPU is needed here."""

from __future__ import annotations

import pytest

import lablib as lab
from lablib.cluster import devices
from lablib.cluster.local import launch
from lablib.errors import LabError

T4 = lab.hardware.get("t4")
WRONG = [  # arguments, why there is no GPU, the version of torch, what the error saw
    (dict(device="tpu"), "", "2.13.0+cu130", "device='tpu'"),
    (dict(device="cuda"), "no nvidia-smi here", "2.13.0+cu130", "no nvidia-smi here"),
    (dict(device="cuda"), "", "2.13.0+cpu", "torch 2.13.0+cpu is built for CPUs only"),
    (dict(device="cuda", hardware=T4), "", "2.13.0+cu130", "device='cuda' and hardware t4"),
    (dict(device="cuda", framework="tensorflow"), "", "2.13.0+cu130", "framework='tensorflow'"),
]


@pytest.fixture
def computer(monkeypatch):
    """Make this computer one with or without a GPU, and fail if a process is started."""

    def make(why_no_gpu, torch):
        monkeypatch.setattr(devices, "no_gpu", lambda: why_no_gpu)
        monkeypatch.setattr(devices, "version", lambda name: torch)
        monkeypatch.setattr(launch, "zygote", lambda *_: pytest.fail("a process was started"))

    return make


@pytest.mark.parametrize("asked, why_no_gpu, torch, saw", WRONG)
def test_a_device_that_cannot_be_used_is_refused(computer, asked, why_no_gpu, torch, saw):
    computer(why_no_gpu, torch)
    with pytest.raises(LabError) as caught:
        lab.Cluster(2, **asked)
    assert saw in caught.value.saw and caught.value.do


@pytest.mark.parametrize("asked, why_no_gpu, torch, saw", WRONG)
def test_so_it_is_when_training_and_comparing(computer, asked, why_no_gpu, torch, saw):
    computer(why_no_gpu, torch)
    with pytest.raises(LabError) as caught:
        lab.train("single", steps=1, **asked)
    assert saw in caught.value.saw
    with pytest.raises(LabError) as caught:
        lab.compare(ranks=[1], strategies=["single"], steps=1, progress=False, **asked)
    assert saw in caught.value.saw


def test_a_computer_with_a_gpu_and_torch_for_cuda_can(computer):
    computer("", "2.13.0+cu130")
    devices.check("cuda", None)
    devices.check_framework("cuda", "torch")

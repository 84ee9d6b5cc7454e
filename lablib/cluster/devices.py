"""The devices on which the ranks of a cluster can compute, and the requirements of each."""

from __future__ import annotations

from importlib.metadata import version

from lablib import frameworks
from lablib.computer.facts import no_gpu
from lablib.errors import LabError
from lablib.hardware.hardware import Hardware

CPU = "cpu"


def check(device: str, hardware: Hardware | None) -> None:
    """Raise LabError if no rank on this computer can compute on the device.

    hardware   the machine that the run models, which is used instead of a device
    """
    if device == CPU:
        return
    able = [each.packages[0] for each in frameworks.EVERY if device in each.devices]
    if not able:
        raise LabError(
            "There is no such device.", saw=f"device={device!r}", do="choose 'cpu' or 'cuda'"
        )
    if hardware:
        raise LabError(
            "Modelled hardware cannot be combined with device.",
            saw=f"device={device!r} and hardware {hardware.name}",
            do="omit one of the two",
        )
    _check_gpu(device, *able)


def check_framework(device: str, framework: str) -> None:
    """Raise LabError if ranks of the framework cannot compute on the device."""
    if device not in frameworks.get(framework).devices:
        raise LabError(
            f"Ranks that run {framework} compute on the CPU only.",
            saw=f"device={device!r} and framework={framework!r}",
            do="omit device, or choose framework='torch'",
        )


def check_dry(dry: bool, hardware: Hardware | None, framework: str) -> None:
    """Raise LabError if the run should be dry but cannot."""
    if not dry:
        return
    able = [each.name for each in frameworks.EVERY if each.dry_runs]
    if framework not in able:
        raise LabError(
            f"A run of {framework} cannot be dry.",
            saw=f"dry=True and framework={framework!r}",
            do=f"choose framework={able[0]!r}, or omit dry=True, to compute the values",
        )
    if hardware is None or hardware.device.is_host:
        raise LabError(
            "A dry run needs modelled hardware, because its ranks compute nothing to measure.",
            saw=f"dry=True and hardware={hardware and hardware.name!r}",
            do="add a machine of lab.hardware.names(), for example hardware='dgx-a100'",
        )


def _check_gpu(device, package):
    if why := no_gpu():
        raise LabError(
            "This computer has no usable GPU.",
            saw=f"device={device!r}; {why}",
            do="omit device to compute on the CPU, or see `python -m lablib doctor`",
        )
    if version(package).endswith("+cpu"):
        raise LabError(
            f"The installed {package} cannot use the GPU of this computer.",
            saw=f"device={device!r}; {package} {version(package)} is built for CPUs only",
            do="install the build for CUDA with `make TORCH=cuda`, or omit device",
        )

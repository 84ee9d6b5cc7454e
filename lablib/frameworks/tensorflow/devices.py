"""Why `me.put` and `me.torch_device` do not exist on a TensorFlow rank."""

from __future__ import annotations

from typing import Any, NoReturn

from lablib.errors import LabError


def device(name: str) -> NoReturn:
    raise _only_in_torch("me.torch_device")


def put(value: Any, name: str) -> NoReturn:
    raise _only_in_torch("me.put")


def _only_in_torch(what):
    return LabError(
        f"{what} is for PyTorch only.",
        saw="a rank that runs TensorFlow, which places tensors itself",
        do='leave it out, or write "with tf.device(...):" where you want to choose the place',
    )

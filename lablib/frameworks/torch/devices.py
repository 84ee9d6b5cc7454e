"""The device on which a torch rank computes, and how values are moved to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lablib.errors import LabError


def put(value: Any, name: str) -> Any:
    """Move tensors, NumPy arrays and modules to the device with this name. See `Rank.put`."""
    if isinstance(value, dict):
        return {key: put(part, name) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        kind = list if isinstance(value, list) else tuple
        return kind(put(part, name) for part in value)
    return _moved(_tensor(value) if isinstance(value, np.ndarray) else value, torch.device(name))


def _moved(value, device):
    if isinstance(value, torch.Tensor):
        return value.to(device)  # returns the same tensor if it is already there
    if not isinstance(value, torch.nn.Module):
        raise _not_movable(f"a value of type {type(value).__name__}")
    # `to` would touch every parameter, even if none has to be moved.
    held = (*value.parameters(), *value.buffers())
    return value if all(tensor.device == device for tensor in held) else value.to(device)


def _tensor(array):
    try:
        return torch.from_numpy(array)
    except (TypeError, ValueError) as error:  # a type or a layout that torch does not have
        raise _not_movable(f"an array of {array.dtype}: {error}") from error


def _not_movable(saw):
    return LabError(
        "me.put cannot move this value to the device of the rank.",
        saw=saw,
        do="give a tensor, a NumPy array of numbers, a module, or a list, tuple or dict of these",
    )

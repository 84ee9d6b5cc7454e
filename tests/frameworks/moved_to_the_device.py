"""Functions for ranks that return the results of `me.put` and `me.torch_device`."""

from __future__ import annotations

import numpy as np

from lablib.errors import LabError


def on_the_cpu(me):
    import torch

    array, tensor = np.ones((2, 3), np.float32), torch.ones(2)
    model = torch.nn.BatchNorm1d(3)
    weight = model.weight
    moved = me.put({"x": (array, [tensor]), "model": model})
    return {
        "device": str(me.torch_device),
        "the tensor itself": moved["x"][1][0] is tensor,
        "the module itself": moved["model"] is model and model.weight is weight,
        "the memory of the array": moved["x"][0].data_ptr() == array.ctypes.data,
        "its shape": list(moved["x"][0].shape),
    }


def elsewhere(me):
    """Move values to the meta device, which is not the device of the values."""
    import torch

    me.device = "meta"
    moved = me.put([torch.ones(2), torch.nn.Linear(2, 3), np.ones(4)])
    devices = [str(each.device) for each in (moved[0], moved[1].weight, moved[2])]
    return [str(me.torch_device), *devices]


def wrongly(me):
    """Return the errors for values that cannot be moved."""
    found = []
    for value in (3, np.array(["a"]), np.ones(4)[::-1], [None]):
        try:
            me.put(value)
        except LabError as error:
            found.append(str(error))
    return found


def in_tensorflow(me):
    found = []
    for attempt in (lambda: me.torch_device, lambda: me.put(np.ones(2))):
        try:
            attempt()
        except LabError as error:
            found.append(str(error))
    return found

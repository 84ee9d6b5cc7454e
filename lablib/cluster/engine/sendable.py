"""Turn arrays and tensors into NumPy arrays; say of other values why they cannot be sent.

NumPy has no bfloat16 and no float8. Tensors of these types arrive as float32, which holds each of
their values exactly.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

_KINDS = "biufcSU"  # of NumPy's types: the plain ones
_WIDER = (np.int8, np.uint8, np.float32)  # hold every value of a type that NumPy lacks

# What to do instead, by the package and the name of the type or of one of its base types.
_CURES = {
    ("torch", "DTensor"): "use x.full_tensor(), called on every rank, or x.to_local()",
    ("torch", "FakeTensor"): "it has a shape but no values; use list(x.shape)",
    ("torch", "MaskedTensor"): "use x.to_tensor(0)",
    ("torch", "Module"): "use model.state_dict()",
    ("torch", "dtype"): "use str(x)",
    ("torch", "device"): "use str(x)",
    ("torch", "Generator"): "use x.get_state()",
    ("torch", "Work"): "call x.wait() on the rank, and use the tensor",
    ("torch", "Future"): "use x.wait()",
    ("tensorflow", "RaggedTensor"): "use x.to_list() or x.to_tensor()",
    ("tensorflow", "SparseTensor"): "use tf.sparse.to_dense(x)",
    ("tensorflow", "IndexedSlices"): "use tf.convert_to_tensor(x)",
    ("tensorflow", "TensorShape"): "use x.as_list()",
    ("tensorflow", "DType"): "use x.name",
    ("tensorflow", "TensorArray"): "use x.stack()",
    ("tensorflow", "DistributedValues"): "use strategy.experimental_local_results(x)",
    ("tensorflow", "DatasetV2"): "use list(x.as_numpy_iterator())",
    ("tensorflow", "Tensor"): "it has no value while a graph is traced; return it from the graph",
    ("keras", "KerasTensor"): "it has a shape but no values; use x.shape",
    ("keras", "Layer"): "use model.get_weights()",
    ("keras", "Optimizer"): "use [v.numpy() for v in optimizer.variables]",
    ("pandas", "DataFrame"): "use frame.to_dict('list') or frame.to_numpy()",
    ("pandas", "Series"): "use series.to_list() or series.to_numpy()",
    ("pandas", "Index"): "use index.to_list()",
    ("numpy", "dtype"): "use x.name",
    ("numpy", "MaskedArray"): "use x.filled(0), and x.mask if you need it",
    ("numpy", "Generator"): "use x.bit_generator.state",
    ("pathlib", "PurePath"): "use str(x)",
    ("enum", "Enum"): "use x.value",
    ("datetime", "date"): "use x.isoformat()",
    ("datetime", "time"): "use x.isoformat()",
    ("datetime", "timedelta"): "use x.total_seconds()",
    ("decimal", "Decimal"): "use float(x) or str(x)",
    ("fractions", "Fraction"): "use float(x) or str(x)",
    ("builtins", "type"): "use its name",
    ("builtins", "function"): "call it on the rank, and use its result",
    ("builtins", "range"): "use list(x)",
    ("builtins", "generator"): "use list(x)",
    ("collections", "deque"): "use list(x)",
}


class CannotTravel(TypeError):
    """A value that cannot be sent to the notebook; the text says why and what to do."""


def as_array(value: Any) -> np.ndarray | None:
    """Return the NumPy array of an array, a NumPy scalar or a tensor of either framework.

    None for any other value. Raises CannotTravel for a tensor without plain values.
    """
    package = type(value).__module__.partition(".")[0]
    torch = sys.modules.get("torch")  # without it, nothing is a tensor of torch
    if isinstance(value, (np.ndarray, np.generic)) and not isinstance(value, np.ma.MaskedArray):
        return _plain(np.asarray(value), value)
    if torch and isinstance(value, torch.Tensor):
        return _of_torch(value)
    if package in ("tensorflow", "keras") and hasattr(value, "numpy"):
        return _plain(_of_tensorflow(value), value)
    return None


def refusal(value: Any) -> CannotTravel:
    """The error for a value that is not plain: which type it has, and what to do instead."""
    kind = type(value)
    bases = [
        (base.__module__.partition(".")[0].lstrip("_"), base.__name__) for base in kind.__mro__
    ]
    cure = next((_CURES[base] for base in bases if base in _CURES), "")
    if not cure and hasattr(kind, "__dataclass_fields__"):
        cure = "use dataclasses.asdict(x)"
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return _refused(f"{module}{kind.__qualname__}", cure)


def _refused(what, cure):
    cure = cure or "use numbers, text, lists, dicts, arrays or tensors made from it"
    return CannotTravel(f"a value of type {what} cannot be sent to the notebook: {cure}")


def _of_torch(tensor):
    import torch

    if cure := _cure_of_torch(tensor):
        raise _refused(f"torch.Tensor ({cure[0]})", cure[1])
    if type(tensor).__name__ in ("DTensor", "FakeTensor", "MaskedTensor"):
        raise refusal(tensor)
    dense = tensor.detach().cpu().resolve_conj().resolve_neg()
    try:
        if dense.is_floating_point() and dense.dtype not in (
            torch.float16, torch.float32, torch.float64,
        ):  # fmt: skip
            dense = dense.float()
        return (dense.to(torch.complex64) if dense.dtype == torch.complex32 else dense).numpy()
    except (RuntimeError, TypeError) as error:
        what = f"{type(tensor).__name__} ({tensor.dtype})"
        raise _refused(what, "use a dense torch.Tensor of an ordinary type") from error


def _cure_of_torch(tensor):
    """What kind of tensor without plain values it is, and what to do; None for a plain one."""
    import torch

    if tensor.is_nested:
        return "nested", "use list(x.unbind()) or x.to_padded_tensor(0)"
    if tensor.layout != torch.strided:
        return "sparse", "use x.to_dense()"
    if tensor.is_quantized:
        return "quantised", "use x.dequantize()"
    if tensor.is_meta:
        return "on the meta device", "it has a shape but no values; use list(x.shape)"
    return None


def _of_tensorflow(tensor):
    try:
        return np.asarray(tensor.numpy())
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        raise refusal(tensor) from None


def _plain(array, value):
    """The array in a type that can be sent."""
    if array.dtype.kind in _KINDS:
        return array
    wider = [kind for kind in _WIDER if array.dtype.kind == "V" and np.can_cast(array.dtype, kind)]
    if wider:
        return array.astype(wider[0])
    if type(value).__name__ == "RaggedTensor":
        raise refusal(value)
    to_numpy = "" if isinstance(value, np.ndarray) else ".numpy()"
    cures = {
        "O": f"use x{to_numpy}.tolist(), if its elements are plain",
        "M": "use x.astype(str)",
        "m": "use x.astype(float)",
        "V": "use each of its fields by name",
    }
    what = f"{type(value).__name__} with elements of type {array.dtype}"
    raise _refused(what, cures.get(array.dtype.kind, "use x.tolist()"))

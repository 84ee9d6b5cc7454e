"""Convert torch tensors to NumPy arrays.

NumPy has no bfloat16 and no float8. Tensors of these types become float32, which represents each of
their values exactly.
"""

from __future__ import annotations

import numpy as np
import torch

from lablib.frameworks.framework import NoPlainValues

_FLOATS = torch.float16, torch.float32, torch.float64


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """Return the tensor's values. Raises NoPlainValues for a tensor without plain values."""
    if kind := _without_plain_values(tensor):
        raise NoPlainValues(*kind)
    dense = tensor.detach().cpu().resolve_conj().resolve_neg()
    try:
        if dense.is_floating_point() and dense.dtype not in _FLOATS:
            dense = dense.float()
        return (dense.to(torch.complex64) if dense.dtype == torch.complex32 else dense).numpy()
    except (RuntimeError, TypeError) as error:
        what = f"{type(tensor).__name__} ({tensor.dtype})"
        raise NoPlainValues(what, "use a dense torch.Tensor of an ordinary type") from error


def _without_plain_values(tensor):
    """Return what kind of tensor without plain values it is, and what to do; None for others."""
    if tensor.is_nested:
        return "torch.Tensor (nested)", "use list(x.unbind()) or x.to_padded_tensor(0)"
    if tensor.layout != torch.strided:
        return "torch.Tensor (sparse)", "use x.to_dense()"
    if tensor.is_quantized:
        return "torch.Tensor (quantised)", "use x.dequantize()"
    if tensor.is_meta:
        cure = "it has a shape but no values; use list(x.shape)"
        return "torch.Tensor (on the meta device)", cure
    by_type = type(tensor).__name__ in ("DTensor", "FakeTensor", "MaskedTensor")
    return ("", "") if by_type else None

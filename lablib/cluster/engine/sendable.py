"""Turn arrays and tensors into NumPy arrays; explain why other values cannot be sent.

NumPy has no bfloat16 and no float8. Arrays of these types become float32, which represents each of
their values exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lablib import frameworks
from lablib.frameworks.framework import NoPlainValues

_KINDS = "biufcSU"  # the kinds of NumPy's types that can be sent
# These can represent every value of a type that NumPy lacks.
_WIDER = (np.int8, np.uint8, np.float32)

# What to do instead, by the package and the name of the type or of one of its base types.
_CURES = {
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
for _framework in frameworks.EVERY:
    _CURES |= _framework.cures


class CannotTravel(TypeError):
    """A value that cannot be sent to the notebook; the text says why and what to do."""


def as_array(value: Any) -> np.ndarray | None:
    """Return an array, a NumPy scalar or a tensor of either framework as a NumPy array.

    Returns None for any other value. Raises CannotTravel for a tensor without plain values.
    """
    if isinstance(value, (np.ndarray, np.generic)) and not isinstance(value, np.ma.MaskedArray):
        return _plain(np.asarray(value), value)
    for framework in frameworks.EVERY:
        if framework.owns(value):
            return _plain(_values(framework, value), value)
    return None


def refusal(value: Any) -> CannotTravel:
    """Return the error for a value that is not plain: its type, and what to do instead."""
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


def _values(framework, tensor):
    try:
        return framework.as_array(tensor)
    except NoPlainValues as error:
        why = _refused(error.what, error.do) if error.what else refusal(tensor)
        raise why from error.__cause__


def _plain(array, value):
    """Return the array in a type that can be sent."""
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

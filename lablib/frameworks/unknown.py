"""A number that a dry run never computed, and the error for code that needs it."""

from __future__ import annotations

from lablib.errors import LabError

CURE = "skip this line in a dry run, where me.dry is True; or omit dry=True, to compute the values"


class Unknown:
    """The number that `.item()` returns in a dry run.

    Arithmetic with it gives an unknown number again. It is printed as "unknown", and arrives in the
    notebook as NaN. Comparing or converting it raises LabError.

    >>> f"{Unknown() / 3 + 1:.3f}"
    'unknown'
    """

    def _itself(self, *_):
        return self

    __neg__ = __pos__ = __abs__ = __round__ = _itself
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _itself
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __pow__ = __rpow__ = _itself

    def _refuse(self, *_):
        raise needs_values("a comparison or conversion of the result of .item()")

    __bool__ = __int__ = __float__ = __index__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __hash__ = object.__hash__

    def __format__(self, spec):
        return repr(self)

    def __repr__(self):
        return "unknown"


def needs_values(what: str) -> LabError:
    """Return the error for code that needs the values of tensors.

    what   the operation that needs them
    """
    return LabError(
        "In a dry run, tensors have shapes but no values.",
        saw=f"{what}, which needs the values of a tensor",
        do=CURE,
    )

"""Make a notebook's class again on a rank, without running again what its definition ran.

A class is sent as its name, its bases and its attributes. cloudpickle calls the metaclass and
`__init_subclass__` of the bases again to make it, so a registry that they fill would get the
class twice, and arguments such as `class A(Base, tag="a")` would be missing.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence

_MISSING = object()
_made: dict[str, type] = {}


class _Silent:
    """Placed before the other base classes, it keeps their `__init_subclass__` from running."""

    __slots__ = ()

    def __init_subclass__(cls, **_):
        pass


def make(maker: Callable, arguments: Sequence, metaclass: type) -> type:
    """Return the class, still without its attributes; the same class each time that it is asked.

    maker, arguments   cloudpickle's function, and what it takes
    """
    *_, identity, _ = arguments
    if identity not in _made:
        made = _make(maker, arguments, metaclass)
        # While the arguments were read, the class may have been made: a registry contains it.
        _made.setdefault(identity, made)
    return _made[identity]


def is_found_by_name(obj: object) -> bool:
    """Return True if a rank can import the object by name from a module that is a file."""
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    if module is None or module.__name__ == "__main__":
        return False
    found = module
    for name in getattr(obj, "__qualname__", "<none>").split("."):
        found = getattr(found, name, _MISSING)
    return found is obj


def _make(maker, arguments, metaclass):
    if len(arguments) == 7:  # an enumeration
        made = maker(*arguments)
        if type(made) is not metaclass:
            made.__class__ = metaclass
        return made
    _, name, bases, attributes, *_ = arguments
    bases = types.resolve_bases(bases)
    importable = next(filter(is_found_by_name, metaclass.__mro__))
    announced = any(map(_runs_code_for_subclasses, bases))
    if importable is metaclass and not announced:
        return maker(*arguments)
    silent = (_Silent,) if announced else ()
    made = importable.__new__(metaclass, name, silent + bases, dict(attributes))
    if announced:
        made.__bases__ = bases
    return made


def _runs_code_for_subclasses(base):
    """Return True if a class of the notebook has an `__init_subclass__` that subclasses inherit."""
    its = (cls for cls in base.__mro__ if "__init_subclass__" in vars(cls))
    return any(not is_found_by_name(cls) for cls in its)

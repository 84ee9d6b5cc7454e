"""Dry runs: a rank's tensors have shapes but no values, and its messages are recorded, not sent.

FakeTensorMode of torch computes shapes only, so no tensor needs memory. Some of torch's own code
reads values, such as the sizes of DDP's buckets: this code gets real tensors (`compat.py`).
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable

from lablib.errors import LabError
from lablib.frameworks.torch import compat
from lablib.frameworks.torch.dry_costs import DryCosts
from lablib.frameworks.unknown import CURE, Unknown, needs_values
from lablib.record.learners_code import is_learners, is_strategy

# Methods of a tensor that return its values, and how a learner writes their call.
_VALUES = {
    "__bool__": "a condition (if, while, and, or, not)",
    "__float__": "float(...)",
    "__int__": "int(...)",
    "__index__": "an index or a range",
    "__array__": "a conversion to a NumPy array",
    "numpy": ".numpy()",
    "tolist": ".tolist()",
}


def begin(costs: DryCosts) -> None:
    """From now on, this process computes shapes only."""
    for method, what in _VALUES.items():
        compat.replace_in_fakes(method, functools.partial(_refused, what=what))
    compat.replace_in_fakes("item", _item)
    compat.replace_in_fakes("__format__", _format)
    compat.replace_in_fakes("__reduce_ex__", lambda _: _pickled)
    compat.begin_dry(costs.planning)


def explained(function: Callable) -> Callable:
    """Return the learner's function, with a clear error where it needs values of tensors."""

    @functools.wraps(function)
    def call(*args):
        try:
            return function(*args)
        except compat.NEEDS_VALUES as error:
            raise _needs_values(error).with_traceback(error.__traceback__) from None
        except compat.WithoutShapes as error:
            raise _without_shapes(error).with_traceback(error.__traceback__) from None

    return call


def _refused(original, what):
    # Strategies of the kit keep their losses as floats; in a dry run nobody reads them.
    is_float = original.__name__ == "__float__"

    @functools.wraps(original)
    def call(self, *args, **options):
        caller = sys._getframe(1).f_code.co_filename
        refuses = is_learners(caller) and not (is_float and is_strategy(caller))
        if refuses and self.constant is None:
            raise needs_values(f"{what} on a tensor of shape {list(self.shape)}")
        return original(self, *args, **options)

    return call


def _item(original):
    @functools.wraps(original)
    def call(self):
        caller = sys._getframe(1).f_code.co_filename
        if self.constant is not None or not is_learners(caller):
            return original(self)
        with contextlib.suppress(*compat.NEEDS_VALUES):  # torch knows no unknown whole number
            original(self)  # it counts the cost
        return Unknown()

    return call


def _format(original):
    @functools.wraps(original)
    def call(self, spec):
        return original(self, spec) if self.dim() else format(Unknown(), spec)

    return call


def _pickled(tensor, protocol):
    raise needs_values(f"pickling or saving a tensor of shape {list(tensor.shape)}")


def _needs_values(error):
    return needs_values(str(error.func) if hasattr(error, "func") else str(error))


def _without_shapes(error):
    return LabError(
        "A dry run does not know the shape of this operation's result.",
        saw=f"{error.func}, for which no function is registered that computes shapes only",
        do=f"register one with torch.library.register_fake; or {CURE}",
    )

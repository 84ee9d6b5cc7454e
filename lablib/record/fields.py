"""Which values the fields of a recorder's rows and boards can have, by the name of the field.

The learner's code runs in the same process as the recorder and can write anything in its place.
So `checked` looks at each field before anybody else reads what came from a rank.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from lablib.record.cost import Cost
from lablib.record.event import PHASES

STATES = ("", "running", "waiting", "returned")
LARGEST = 2**53  # the largest whole number up to which a float is exact
_LARGEST_AMOUNT = 1e30  # of FLOPs or bytes
_LONGEST_NAME, LONGEST_LABEL, _LONGEST_CHANNEL = 60, 1000, 4096
MOST_LOGGED = 100
_LINE = re.compile(r".{0,200}:[0-9]{1,9}", re.DOTALL)

Form = TypeVar("Form", bound=NamedTuple)


def checked(form: type[Form], values: object) -> Form:
    """Return a row or a board made of plain values.

    form     a NamedTuple class whose fields are all named in this module
    values   a list with one plain value for each field, as it came from a rank

    Raises ValueError if a value is missing, has another type or lies outside of its bounds.
    """
    if not isinstance(values, list) or len(values) != len(form._fields):
        raise ValueError(f"{form.__name__} has {len(form._fields)} fields")
    return form._make(_FIELDS[name](value) for name, value in zip(form._fields, values))


def check_message(name: str, group: tuple[int, ...]) -> None:
    """Raise ValueError if no message can have this name and these ranks."""
    if not name or len(group) < (2 if name in ("send", "recv") else 1):
        raise ValueError(f"no message {name!r} has {len(group)} ranks")


def _only_if(right, value):
    if not right:
        raise ValueError(f"a recorder writes no such {type(value).__name__} in this field")
    return value


def _whole(value):
    return _only_if(type(value) is int and abs(value) <= LARGEST, value)


def _count(value):
    return _only_if(type(value) is int and 0 <= value <= LARGEST, value)


def _number(value):
    return _only_if(type(value) in (int, float) and -LARGEST <= value <= LARGEST, value)


def _amount(value):
    return _only_if(type(value) in (int, float) and 0 <= value <= _LARGEST_AMOUNT, value)


def _text(longest):
    return lambda value: _only_if(type(value) is str and len(value) <= longest, value)


def _one_of(choices):
    return lambda value: _only_if(type(value) is str and value in choices, value)


def _line(value):
    return _only_if(type(value) is str and (not value or _LINE.fullmatch(value)), value)


def _group(value):
    return tuple(map(_whole, _only_if(type(value) is list, value)))


def _costs(values):
    try:
        return _costs_of(tuple(map(tuple, _only_if(type(values) is list, values))))
    except TypeError:
        raise ValueError("a recorder writes no such costs") from None


@lru_cache(maxsize=1 << 12)
def _costs_of(values):
    # Equal costs become one tuple: few are different, and a program has each of them many times.
    return tuple(checked(Cost, list(value)) for value in values)


def _logged(values):
    right = type(values) is dict and len(values) <= MOST_LOGGED
    return {_name(name): _logged_value(value) for name, value in _only_if(right, values).items()}


def _logged_value(value):
    return (
        _whole(value) if type(value) is int else _only_if(type(value) in (bool, float, str), value)
    )


_name = _text(_LONGEST_NAME)
_FIELDS: dict[str, Callable[[Any], Any]] = {
    "at_s": _number,
    "channel": _text(_LONGEST_CHANNEL),
    "costs": _costs,
    "count": _count,
    "cpu_s": _number,
    "end_s": _number,
    "flops": _amount,
    "group": _group,
    "label": _text(LONGEST_LABEL),
    "line": _line,
    "logged": _logged,
    "name": _name,
    "nbytes": _amount,
    "number": _count,
    "order": _count,
    "phase": _one_of(PHASES),
    "precision": _name,
    "samples": _whole,
    "sent_bytes": _count,
    "start_s": _number,
    "state": _one_of(STATES),
    "steps": _count,
}

"""What a learner may type as a guess, and whether it is right: leniently."""

from __future__ import annotations

import math
import numbers
import re

from lablib.errors import LabError

_WORDS = {"true": True, "yes": True, "false": False, "no": False}
_NUMBER = re.compile(r"[-+]?(\d[\d_ ]*(\.\d*)?|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)


def plain(value: object) -> object:
    """Return a NumPy number as a Python number, and everything else as it is."""
    return value.item() if hasattr(value, "item") else value


def as_guess(typed: object, unit: str = "", choices: list | tuple = ()) -> object:
    """Return the guess that was meant: a number, a bool, a text, or one of `choices`.

    >>> as_guess("3.5 MB", "MB"), as_guess("True"), as_guess("2,000"), as_guess(" Rank 3 ")
    (3.5, True, 2000, 'Rank 3')

    Raises LabError if it is none of these.
    """
    guess = plain(typed)
    guess = _read(guess.strip(), unit) if isinstance(guess, str) else guess
    if choices:
        return _chosen(guess, choices)
    if guess == "" or not (isinstance(guess, (str, bool)) or is_number(guess)):
        raise LabError(
            "A guess must be a number, True or False, or a short text.",
            saw=repr(typed),
            do="write, for example, 3.5",
        )
    return guess


def is_right(guess: object, happened: object) -> bool:
    """Compare two answers as texts, without case and spaces; "yes" and "true" equal True."""
    return _key(guess) == _key(happened)


def is_number(value: object) -> bool:
    """True for a finite real number, but not for True and False."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)


def with_unit(value: object, unit: str) -> str:
    """Return the value as text, with its unit.

    >>> with_unit(3.14159, "MB"), with_unit(True, "")
    ('3.14 MB', 'True')
    """
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return f"{text} {unit}".strip()


def _read(text, unit):
    if text.casefold() in _WORDS:
        return _WORDS[text.casefold()]
    number = text.replace(",", "")
    if unit and number.casefold().endswith(unit.casefold()):
        number = number[: -len(unit)].strip()
    number = number.strip(" x×%")
    if not _NUMBER.fullmatch(number):
        return text
    value = float(number.replace(" ", "").replace("_", ""))
    return int(value) if value.is_integer() and "." not in number else value


def _chosen(guess, choices):
    found = [choice for choice in choices if is_right(guess, choice)]
    if found:
        return found[0]
    raise LabError(
        "This is not one of the choices.",
        saw=repr(guess),
        do=f"choose one of: {', '.join(map(str, choices))}",
    )


def _key(value):
    text = " ".join(str(value).split()).casefold()
    return str(_WORDS.get(text, text)).casefold()

"""The error that users of the kit see: it says what is wrong, what was seen and what to do."""

from __future__ import annotations

import numbers

# An exercise that a learner has not begun raises NotImplementedError with this text.
NOT_ATTEMPTED = "not attempted yet"


class LabError(Exception):
    """An error that says what is wrong, what was seen and what to do.

    about   the names that lead to the wrong value, such as ("nodes",) or ("slow", "9"); () if the
            value has no name

    >>> print(LabError("There is no rank 4.", saw="4 ranks", do="choose 0 to 3"))
    There is no rank 4.
      saw: 4 ranks
      do:  choose 0 to 3
    """

    def __init__(self, wrong: str, *, saw: str = "", do: str = "", about: tuple[str, ...] = ()):
        super().__init__(wrong)
        self.wrong, self.saw, self.do, self.about = wrong, saw, do, about

    def __str__(self) -> str:
        lines = [self.wrong]
        if self.saw:
            lines.append(f"  saw: {_indent(self.saw)}")
        if self.do:
            lines.append(f"  do:  {_indent(self.do)}")
        return "\n".join(lines)

    def __reduce__(self):
        return _rebuild, (type(self), self.wrong, self.saw, self.do, self.about)

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows instead of a traceback through the kit's code."""
        return [f"{type(self).__name__}: {self}"]


def is_whole(number: object) -> bool:
    """Return whether it is an integer of Python or NumPy; True and 2.0 are not integers."""
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


def check_whole(least: int, **given: object) -> None:
    """Raise LabError for the first given value that is not an integer of at least `least`.

    >>> check_whole(1, steps=20, batch=64)
    """
    for name, number in given.items():
        if not is_whole(number) or number < least:
            raise LabError(
                f"{name} must be a whole number of at least {least}.",
                saw=f"{name}={number!r}",
                do=f"write, for example, {name}={max(least, 4)}",
                about=(name,),
            )


def _indent(text: str) -> str:
    return text.replace("\n", "\n       ")


def _rebuild(cls, wrong, saw, do, about):
    return cls(wrong, saw=saw, do=do, about=about)

"""The one error a user of the kit meets: a small lesson in three lines."""

from __future__ import annotations

import numbers

# An exercise as learners get it raises NotImplementedError with this text.
NOT_ATTEMPTED = "not attempted yet"


class LabError(Exception):
    """What is wrong, what we saw, what to do.

    about   the names that lead to the wrong value, such as ("nodes",) or ("slow", "9"); () if it
            has no name

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
        """IPython shows these lines instead of a traceback through the kit's own code."""
        return [f"{type(self).__name__}: {self}"]


def is_whole(number: object) -> bool:
    """Whether it is an integer of Python or NumPy; True and 2.0 are none."""
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


def check_whole(least: int, **given: object) -> None:
    """Raise LabError for the first of the given values that is no integer of at least `least`.

    >>> check_whole(1, steps=20, batch=64)
    """
    for name, number in given.items():
        if not is_whole(number) or number < least:
            raise LabError(
                f"{name} must be a whole number of at least {least}.",
                saw=f"{name}={number!r}",
                do=f"write for example {name}={max(least, 4)}",
                about=(name,),
            )


def _indent(text: str) -> str:
    return text.replace("\n", "\n       ")


def _rebuild(cls, wrong, saw, do, about):
    return cls(wrong, saw=saw, do=do, about=about)

"""The error that users of the kit see: it says what is wrong, what was seen and what to do."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from difflib import get_close_matches

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
        self.wrong = wrong
        self.saw = saw
        self.do = do
        self.about = about

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


def did_you_mean(name: object, known: Iterable[str], otherwise: str = "") -> str:
    """Ask whether the nearest known name is meant; return `otherwise` if none is near.

    >>> did_you_mean("dpp", ["ddp", "fsdp"])
    "did you mean 'ddp'?"
    """
    close = get_close_matches(str(name), list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else otherwise


def unknown(what: str, name: object, known: list[str], do: str = "choose one of these") -> LabError:
    """Return the error for a name that is not among the known ones.

    >>> print(unknown("task", "resnet", ["digits-mlp", "bytes-gpt"]))
    There is no task 'resnet'.
      saw: known: digits-mlp, bytes-gpt
      do:  choose one of these
    """
    saw = "known: " + ", ".join(known)
    return LabError(f"There is no {what} {name!r}.", saw=saw, do=did_you_mean(name, known, do))


def _indent(text: str) -> str:
    return text.replace("\n", "\n       ")


def _rebuild(cls, wrong, saw, do, about):
    return cls(wrong, saw=saw, do=do, about=about)

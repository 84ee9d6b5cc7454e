"""The one error a user of the kit meets: a small lesson in three lines."""

from __future__ import annotations


class LabError(Exception):
    """What is wrong, what we saw, what to do.

    >>> print(LabError("There is no rank 4.", saw="4 ranks", do="choose 0 to 3"))
    There is no rank 4.
      saw: 4 ranks
      do:  choose 0 to 3
    """

    def __init__(self, wrong: str, *, saw: str = "", do: str = ""):
        super().__init__(wrong)
        self.wrong, self.saw, self.do = wrong, saw, do

    def __str__(self) -> str:
        lines = [self.wrong]
        if self.saw:
            lines.append(f"  saw: {_indent(self.saw)}")
        if self.do:
            lines.append(f"  do:  {_indent(self.do)}")
        return "\n".join(lines)

    def __reduce__(self):
        return _rebuild, (type(self), self.wrong, self.saw, self.do)

    def _render_traceback_(self) -> list[str]:
        """IPython shows these lines instead of a traceback through the kit's own code."""
        return [f"{type(self).__name__}: {self}"]


def _indent(text: str) -> str:
    return text.replace("\n", "\n       ")


def _rebuild(cls, wrong, saw, do):
    return cls(wrong, saw=saw, do=do)

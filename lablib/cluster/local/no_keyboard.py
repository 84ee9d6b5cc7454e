"""Make reading from the keyboard on a rank raise an error that explains why it is impossible."""

from __future__ import annotations

import io
import pdb
import sys

from lablib.errors import LabError


class NoKeyboard(io.TextIOBase):
    """Replaces `sys.stdin` on a rank. Reading from it raises LabError.

    input(), breakpoint(), pdb.set_trace() and code.interact() all read from it.
    """

    encoding = "utf-8"

    def readline(self, size: int = -1) -> str:
        raise LabError(
            "A rank cannot read from the keyboard.",
            saw="input(), sys.stdin, breakpoint(), pdb or code.interact() on a rank",
            do="pass the value to the function before the run; to look at a value, print it or "
            "record it with me.log",
        )

    read = readlines = read1 = readinto = readinto1 = peek = detach = readline

    @property
    def buffer(self) -> NoKeyboard:
        return self

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 0  # an empty file, for child processes


def take_away_the_keyboard() -> None:
    """Replace `sys.stdin` of this process; debuggers stop at the line that calls them."""
    sys.stdin = sys.__stdin__ = NoKeyboard()
    sys.breakpointhook = pdb.set_trace = _calls_a_debugger


def _calls_a_debugger(*_, **__):
    NoKeyboard().readline()

"""Let whatever reads from the keyboard on a rank say why it cannot."""

from __future__ import annotations

import io
import pdb
import sys

from lablib.errors import LabError


class NoKeyboard(io.TextIOBase):
    """Takes the place of `sys.stdin` on a rank. Reading from it raises LabError.

    input(), breakpoint(), pdb.set_trace() and code.interact() all read from there.
    """

    encoding = "utf-8"

    def readline(self, size: int = -1) -> str:
        raise LabError(
            "A rank cannot read from the keyboard.",
            saw="input(), breakpoint(), pdb or code.interact() on a rank",
            do="pass the value to the function before the run; to look at a value, print it or "
            "record it with me.log",
        )

    read = readlines = readline

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 0  # for child processes; it is empty


def take_away_the_keyboard() -> None:
    """Replace `sys.stdin` of this process; debuggers stop at the very line that calls them."""
    sys.stdin = sys.__stdin__ = NoKeyboard()
    sys.breakpointhook = pdb.set_trace = _calls_a_debugger


def _calls_a_debugger(*_, **__):
    NoKeyboard().readline()

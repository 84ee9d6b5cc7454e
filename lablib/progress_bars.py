"""Progress bars: a widget in a notebook, a line on a terminal's stderr, nothing in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence


def bar(text: str, total: int | None = None, shown: bool = True, *, leave: bool = False):
    """Return a tqdm bar; without a `total`, it shows the time that has passed."""
    from tqdm.auto import tqdm

    shown = shown and (_in_notebook() or sys.stderr.isatty())
    form = None if total else "{desc} ({elapsed})"
    return tqdm(total=total, desc=text, bar_format=form, disable=not shown, leave=leave)


class WaitingBar:
    """Show how long the user has been waiting, once it is more than a second."""

    _AFTER_S = 1.0

    def __init__(self, text: str):
        self._text = text
        self._begun_s = time.monotonic()
        self._bar = None

    def __call__(self, _=None) -> None:
        if time.monotonic() - self._begun_s > self._AFTER_S:
            if self._bar is None:
                self._bar = bar(self._text)
            self._bar.refresh()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class Steps:
    """Show a bar of the steps that all ranks have done, which their boards report."""

    def __init__(self, text: str, steps: int, shown: bool):
        self._bar = bar(text, steps, shown)

    def __call__(self, boards: Sequence) -> None:
        done = [board.steps for board in boards if board.steps]
        self._bar.update(min(done, default=0) - self._bar.n)

    def close(self) -> None:
        """Remove the bar. tqdm would leave a bar that is not full in red, but a resumed run, which
        takes only the steps that were missing, is no failure; a failed run shows its error."""
        self._bar.total = self._bar.n
        self._bar.close()


def _in_notebook():
    if "IPython" not in sys.modules:
        return False
    return hasattr(sys.modules["IPython"].get_ipython(), "kernel")

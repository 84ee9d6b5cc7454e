"""Progress bars: a widget in a notebook, a line on a terminal's stderr, nothing in a pipe."""

from __future__ import annotations

import sys


def bar(text: str, total: int | None = None, shown: bool = True, *, leave: bool = False):
    """A tqdm bar; without a `total` it shows the time that has passed."""
    from tqdm.auto import tqdm

    shown = shown and (_in_notebook() or sys.stderr.isatty())
    form = None if total else "{desc} ({elapsed})"
    return tqdm(total=total, desc=text, bar_format=form, disable=not shown, leave=leave)


def _in_notebook():
    if "IPython" not in sys.modules:
        return False
    return hasattr(sys.modules["IPython"].get_ipython(), "kernel")

"""Show requests while they are sent: a bar, and in a notebook the measurements as they come in."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from lablib import progress_bars
from lablib.views.notebook_output import in_notebook, mime_bundle

if TYPE_CHECKING:
    from lablib.views.picture import Picture

_EVERY_S = 1.0  # drawing takes about 0.2 s, in which no request is sent


class Monitor:
    """Call it after each request with a function that draws all requests so far; then close it.

    requests   how many requests are to be sent
    live       True: draw once a second, if this is a notebook with widgets
    """

    def __init__(self, requests: int, live: bool):
        self._bar = progress_bars.bar("requests", requests)
        self._figure = _figure() if live and in_notebook() else None
        self._drawn_s = time.monotonic()

    def __call__(self, draw: Callable[[], Picture]) -> None:
        self._bar.update()
        if self._figure is not None and time.monotonic() - self._drawn_s > _EVERY_S:
            self._figure.value = mime_bundle(draw())["text/html"]
            self._drawn_s = time.monotonic()

    def close(self) -> None:
        """Remove the bar and the figure: the cell shows the measurements at their end."""
        self._bar.close()
        if self._figure is not None:
            self._figure.close()


def _figure():
    import ipywidgets
    from IPython.display import display

    figure = ipywidgets.HTML("<p>waiting for the first requests</p>")
    display(figure)
    return figure

"""A figure with its own background and a text alternative.

It is drawn without pyplot: there is no backend and no global list of open figures, and the figure
is shown once if it is the last value of a cell. This module imports matplotlib, so import it inside
functions.
"""

from __future__ import annotations

import base64
import html
import io
from contextlib import contextmanager

import matplotlib.style
from matplotlib.figure import Figure

from lablib.views import palette

DOTS_PER_INCH = 130
_COLOURS = 64
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "axes.edgecolor": palette.TEXT,
    "axes.labelcolor": palette.TEXT,
    "text.color": palette.TEXT,
    "xtick.color": palette.TEXT,
    "ytick.color": palette.TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": palette.GRID,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "lablib",
}


class Picture(Figure):
    """A matplotlib Figure with `alt`, a text that describes what it shows.

    Notebooks show the image with that text, and terminals show the text.
    """

    alt = ""

    def png(self) -> bytes:
        """Return an opaque image with few colours, which needs a third of the bytes."""
        from PIL import Image

        file = io.BytesIO()
        image = Image.open(io.BytesIO(self._bytes("png", dpi=DOTS_PER_INCH))).convert("RGB")
        image.quantize(_COLOURS).save(file, "png", optimize=True)
        return file.getvalue()

    def svg(self) -> str:
        """Return the image as SVG with its text alternative; equal pictures give equal text."""
        text = self._bytes("svg", metadata={"Date": None}).decode()
        head, tag, rest = text.partition("<svg ")
        attributes, close, body = rest.partition(">")
        title = f"<title>{html.escape(self.alt)}</title>"
        return f'{head}{tag}role="img" {attributes}{close}\n{title}{body}'

    def _bytes(self, kind, **more):
        file = io.BytesIO()
        with drawing():
            self.savefig(file, format=kind, facecolor=palette.PAPER, **more)
        return file.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        image = base64.b64encode(self.png()).decode()
        alt = html.escape(self.alt, quote=True)
        width = round(self.get_figwidth() * 96)
        shown = (
            f'<img alt="{alt}" src="data:image/png;base64,{image}" width="{width}" '
            'style="max-width: 100%; height: auto; background: white">'
        )
        # JupyterLab gives image/png no text alternative, and some viewers strip HTML: give both.
        bundle = {"text/plain": self.alt, "text/html": shown, "image/png": image}
        return bundle, {"image/png": {"alt": self.alt, "width": width}}


@contextmanager
def drawing():
    """Return a context with the kit's style, independent of the style of the learner's notebook."""
    with matplotlib.style.context(["default", _STYLE], after_reset=False):
        yield


def blank(width_in: float, height_in: float) -> Picture:
    """Return an empty picture with space for legends and labels. Use it within `drawing`."""
    return Picture((width_in, height_in), facecolor=palette.PAPER, layout="constrained")


def plain(text: object) -> str:
    """Return the text so that matplotlib shows it unchanged.

    Dollar signs do not begin a formula, and an underscore at the start does not hide a label.

    >>> plain("_$x$")
    ' _\\\\$x\\\\$'
    """
    text = str(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text

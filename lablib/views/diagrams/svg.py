"""Diagrams as plain SVG: boxes, arrows, numbered badges, and a text alternative."""

from __future__ import annotations

import base64
import html
import os
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from lablib.files import write_completely
from lablib.views import palette

# {hatch of matplotlib: (name, path)} of a pattern of 8 by 8 pixels.
_HATCHES = {
    "//": ("up", "M-1 5 L5 -1 M3 9 L9 3"),
    "\\\\": ("down", "M-1 3 L5 9 M3 -1 L9 5"),
    "xx": ("cross", "M0 0 L8 8 M0 8 L8 0"),
    "..": ("dots", "M3.4 4 L4.6 4"),
}
FONT = "'DejaVu Sans', Verdana, Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Diagram:
    """A drawing with an opaque background; `description` says in words what it shows."""

    title: str
    description: str
    svg: str = field(repr=False)

    def save(self, path: str | os.PathLike) -> Path:
        """Write it as an SVG file, completely or not at all; raise LabError if that fails."""
        return write_completely(path, self.svg)

    def _repr_mimebundle_(self, include=None, exclude=None):
        image = base64.b64encode(self.svg.encode()).decode()
        alt = html.escape(f"{self.title}. {self.description}", quote=True)
        # An image, because notebooks that are not trusted remove SVG from the page.
        shown = f'<img alt="{alt}" src="data:image/svg+xml;base64,{image}" style="max-width: 100%">'
        return {
            "text/plain": f"{self.title}. {self.description}",
            "text/html": shown,
            "image/svg+xml": self.svg,
        }


class Sheet:
    """A sheet to draw on; later shapes cover earlier ones. Sizes are in pixels.

    marked   the key of the badges that get a ring
    """

    def __init__(self, width: int, marked: str = ""):
        self.width, self.marked = width, marked
        self._parts: list[str] = []

    def box(self, x, y, width, height, *, fill=palette.PAPER, dashed=False, about=""):
        """Draw a rectangle; `about` appears when the mouse is over it."""
        dash = ' stroke-dasharray="7 5"' if dashed else ""
        shape = (
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}" '
            f'stroke="{palette.TEXT}" stroke-width="1.5"{dash}'
        )
        tip = f"><title>{html.escape(about)}</title></rect>" if about else "/>"
        self._parts.append(shape + tip)

    def text(self, x, y, words, *, size=14, bold=False, anchor="middle", color=palette.TEXT):
        """Write one line of text; `y` is its base line."""
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{color}"'
            f"{weight}>{html.escape(str(words))}</text>"
        )

    def paragraph(self, x, y, words, *, lead, letters, size=13, leading=18) -> int:
        """Write `lead` in bold, then `words`, `letters` a line; return the next base line."""
        lines = textwrap.wrap(f"{lead} {words}", letters, break_on_hyphens=False)
        for number, line in enumerate(lines):
            shown = html.escape(line)
            if number == 0:
                bold = html.escape(lead)
                shown = f'<tspan font-weight="bold">{bold}</tspan>{shown.removeprefix(bold)}'
            self._parts.append(
                f'<text x="{x}" y="{y}" font-size="{size}" fill="{palette.TEXT}">{shown}</text>'
            )
            y += leading
        return y

    def arrow(self, points, *, color=palette.TEXT, width=2, both=False, dashed=False):
        """Draw a line through the points with an arrow head at its end, or at both ends."""
        path = "M" + " L".join(f"{x} {y}" for x, y in points)
        dash = ' stroke-dasharray="7 5"' if dashed else ""
        start = ' marker-start="url(#head)"' if both else ""
        self._parts.append(
            f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{width}"{dash}'
            f'{start} marker-end="url(#head)"/>'
        )

    def area(self, x, y, width, height, ink: palette.Ink):
        """Fill a rectangle with an ink and its hatch; it has no outline if the ink is paper."""
        where = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        edge = "none" if ink is palette.NUMBER else palette.TEXT
        shape = f'<rect {where} fill="{ink.color}" stroke="{edge}" stroke-width="0.6"/>'
        if ink.hatch:
            shape += f'<rect {where} fill="url(#{_HATCHES[ink.hatch][0]})"/>'
        self._parts.append(shape)

    def dot(self, x, y, radius, *, hollow=False):
        """Draw a disc, or a ring."""
        fill = "none" if hollow else palette.TEXT
        self._parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" '
            f'stroke="{palette.TEXT}" stroke-width="2"/>'
        )

    def line(self, x1, y1, x2, y2, *, width=2, color=palette.TEXT, dashed=False):
        """Draw a straight line without arrow heads."""
        dash = ' stroke-dasharray="9 5"' if dashed else ""
        self._parts.append(
            f'<path d="M{x1} {y1} L{x2} {y2}" stroke="{color}" stroke-width="{width}"{dash}/>'
        )

    def badge(self, x, y, key, about=""):
        """Draw a component's number in a dark disc, or an arrow's letter in a light one."""
        fill, ink = (
            (palette.TEXT, palette.PAPER) if key.isdigit() else (palette.PAPER, palette.TEXT)
        )
        if key == self.marked:
            self._parts.append(
                f'<circle cx="{x}" cy="{y}" r="17" fill="{palette.CHANGED.color}" '
                f'stroke="{palette.WAITING.color}" stroke-width="4"/>'
            )
        self._parts.append(
            f"<g><title>{html.escape(about or key)}</title>"
            f'<circle cx="{x}" cy="{y}" r="12" fill="{fill}" stroke="{palette.TEXT}" '
            f'stroke-width="1.5"/><text x="{x}" y="{y + 5}" font-size="13" font-weight="bold" '
            f'text-anchor="middle" fill="{ink}">{html.escape(key)}</text></g>'
        )

    def finish(self, height: int, title: str, description: str) -> Diagram:
        """Return the sheet as a diagram, cut at `height`."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {height}" '
            f'width="{self.width}" height="{height}" role="img" aria-labelledby="title desc" '
            f'font-family="{FONT}">'
            f'<title id="title">{html.escape(title)}</title>'
            f'<desc id="desc">{html.escape(description)}</desc>'
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" '
            'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
            f'<path d="M0 0 L10 5 L0 10 z" fill="{palette.TEXT}"/></marker>'
            f"{self._hatches()}</defs>"
            f'<rect width="{self.width}" height="{height}" fill="{palette.PAPER}"/>'
        )
        return Diagram(title, description, head + "\n".join(["", *self._parts, "</svg>", ""]))

    def _hatches(self):
        """Return the patterns of the hatches that were used."""
        drawn = "".join(self._parts)
        return "".join(
            f'<pattern id="{name}" width="8" height="8" patternUnits="userSpaceOnUse">'
            f'<path d="{path}" stroke="{palette.TEXT}" stroke-width="0.9"/></pattern>'
            for name, path in _HATCHES.values()
            if f"url(#{name})" in drawn
        )

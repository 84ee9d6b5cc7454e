"""Sliders above a figure. Moving one draws the figure again; it starts no process."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lablib.errors import LabError
from lablib.views.notebook_output import in_notebook, mime_bundle

if TYPE_CHECKING:
    import ipywidgets

    from lablib.views.diagrams.svg import Diagram


class Slider(NamedTuple):
    """One thing to choose: an argument's name, its words, and its values, each with its words."""

    name: str
    label: str
    choices: Sequence[tuple[str, Any]]
    start: Any


class Controls:
    """A figure of what sliders choose. In a notebook they move; elsewhere their start is shown.

    draw      takes each slider's value by name, returns the figure
    sliders   in the order in which they stand

    Where there are no widgets, call `figure` with other values: it is the same function.
    """

    def __init__(self, draw: Callable[..., Diagram], sliders: Sequence[Slider], title: str):
        self._draw, self.sliders, self.title = draw, tuple(sliders), title

    @property
    def start(self) -> dict[str, Any]:
        """The value of each slider before it is moved."""
        return {slider.name: slider.start for slider in self.sliders}

    def figure(self, **chosen: Any) -> Diagram:
        """What is drawn for these values; the sliders' start where none is given.

        Raises LabError for a name that no slider has.
        """
        unknown = set(chosen) - set(self.start)
        if unknown:
            raise LabError(
                "There is no such slider.",
                saw=", ".join(sorted(unknown)),
                do=f"choose from {', '.join(self.start)}",
            )
        return self._draw(**self.start | chosen)

    def widget(self) -> ipywidgets.Widget:
        """The sliders, and the figure below them."""
        import ipywidgets

        page = ipywidgets.HTML()
        wide = ipywidgets.Layout(width="min(560px, 98%)")
        controls = {
            slider.name: ipywidgets.SelectionSlider(
                options=slider.choices, value=slider.start, description=slider.label,
                continuous_update=False, layout=wide, style={"description_width": "160px"},
            )
            for slider in self.sliders
        }  # fmt: skip

        def draw(_=None):
            page.value = self._html({name: each.value for name, each in controls.items()})

        for each in controls.values():
            each.observe(draw, "value")
        draw()
        return ipywidgets.VBox([*controls.values(), page])

    def _html(self, chosen):
        try:
            return mime_bundle(self.figure(**chosen))["text/html"]
        except LabError as error:
            return f"<pre>{html.escape(str(error))}</pre>"

    def __repr__(self):
        return f"Controls({self.title}: {', '.join(self.start)})"

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = mime_bundle(self.figure())
        return (self.widget()._repr_mimebundle_() | bundle) if in_notebook() else bundle

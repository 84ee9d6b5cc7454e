"""Sliders above a figure. Moving one draws the figure again and starts no process."""

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
    """A slider: an argument's name, a label, and its values, each with a label."""

    name: str
    label: str
    choices: Sequence[tuple[str, Any]]
    start: Any


class Controls:
    """A figure with sliders. Outside a notebook, it shows the figure for the initial values.

    draw      a function that takes each slider's value by name and returns the figure
    sliders   the sliders, from top to bottom

    Without widgets, call `figure` with other values to get the same figures.
    """

    def __init__(self, draw: Callable[..., Diagram], sliders: Sequence[Slider], title: str):
        self._draw = draw
        self.sliders = tuple(sliders)
        self.title = title

    @property
    def start(self) -> dict[str, Any]:
        """Return the initial value of each slider."""
        return {slider.name: slider.start for slider in self.sliders}

    def figure(self, **chosen: Any) -> Diagram:
        """Draw the figure for these values; a slider that is not named has its initial value.

        Raises LabError if there is no slider of that name.
        """
        unknown = set(chosen) - set(self.start)
        if unknown:
            raise LabError(
                "There is no such slider.",
                saw=", ".join(sorted(unknown)),
                do=f"choose one of {', '.join(self.start)}",
            )
        return self._draw(**self.start | chosen)

    def widget(self) -> ipywidgets.Widget:
        """Return the sliders with the figure below them."""
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

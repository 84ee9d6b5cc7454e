"""All widgets.

`architecture` explains the parts of distributed training, `explore` shows a trace step by step, and
`what_if`, `data_parallel` and `pipeline` have sliders for modelled hardware. Without widgets, each
shows its figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lablib.errors import LabError
from lablib.hardware.hardware import Hardware
from lablib.record.trace import Trace
from lablib.views import diagrams, plots
from lablib.views.notebook_output import in_notebook, mime_bundle
from lablib.views.traffic import traffic
from lablib.views.widgets.controls import Controls, Slider
from lablib.views.widgets.hardware_sliders import data_parallel, pipeline, what_if
from lablib.views.window import step_count, window

if TYPE_CHECKING:
    import ipywidgets

    from lablib.views.diagrams.svg import Diagram
    from lablib.views.picture import Picture

__all__ = ["Explorer", "architecture", "data_parallel", "explore", "pipeline", "what_if"]

_FIRST_SHOWN = 3


def architecture() -> Controls:
    """Show a diagram of distributed training that explains the role of the chosen part."""
    parts = diagrams.COMPONENTS + diagrams.ARROWS
    choices = [("all", ""), *((f"{part.key} {part.name}", part.key) for part in parts)]
    return Controls(diagrams.architecture, [Slider("chosen", "part", choices, "")], "architecture")


def explore(trace: Trace, hardware: Hardware | None = None) -> Explorer:
    """Explore a trace: its timeline, its communication matrix, and the machine with its traffic.

    hardware   the modelled machine, such as `run.hardware`; None: no diagram

    In a notebook, a slider chooses the steps. Without widgets (in a terminal, or on a page made
    from the notebook), the same figures are shown without a slider. Raises LabError if the trace
    has no events, or more ranks than the hardware.

    >>> from lablib.record.event import Event
    >>> explore(Trace([Event(0, "step", "step 0", 0, 1)], "modelled"))
    Explorer(timeline of Trace(1 event, 1 rank, 1 s, modelled))
    """
    window(trace)
    if hardware is not None:
        hardware.check_ranks(trace.ranks)
    return Explorer(trace, hardware)


class Explorer:
    """The result of `explore`, which shows itself; `view` returns one of its figures."""

    def __init__(self, trace: Trace, hardware: Hardware | None):
        self.trace, self.hardware = trace, hardware
        self._draws = {"timeline": plots.timeline}
        if traffic(trace):
            self._draws["matrix"] = plots.matrix
        if hardware is not None:
            self._draws["hardware"] = self._diagram

    @property
    def names(self) -> tuple[str, ...]:
        """Return which views this trace has: "timeline", "matrix", "hardware"."""
        return tuple(self._draws)

    def view(self, name: str, steps: int | range | None = None) -> Picture | Diagram:
        """Return one view as a figure. Raises LabError if there is nothing to show."""
        return self._draws[name](self.trace, steps=steps)

    def _diagram(self, trace, steps):
        return diagrams.hardware(self.hardware, trace, steps)

    def widget(self) -> ipywidgets.Widget:
        """Return tabs with a slider above them; only the visible tab is drawn."""
        import ipywidgets

        pages = [ipywidgets.HTML() for _ in self.names]
        tabs = ipywidgets.Tab(pages, titles=[name.capitalize() for name in self.names])
        slider = self._slider(ipywidgets)

        def draw(_=None):
            steps = None if slider is None else range(slider.value[0], slider.value[1] + 1)
            chosen = tabs.selected_index or 0
            pages[chosen].value = self._html(self.names[chosen], steps)

        tabs.observe(draw, "selected_index")
        if slider is not None:
            slider.observe(draw, "value")
        draw()
        return ipywidgets.VBox([tabs] if slider is None else [slider, tabs])

    def _slider(self, ipywidgets):
        count = step_count(self.trace)
        if count < 2:
            return None
        # Begin after the first step, which is a warm-up that every metric omits.
        first = (1, min(_FIRST_SHOWN, count - 1))
        return ipywidgets.IntRangeSlider(
            value=first, min=0, max=count - 1, description="steps", continuous_update=False,
            layout=ipywidgets.Layout(width="60%"),
        )  # fmt: skip

    def _html(self, name, steps):
        try:
            return mime_bundle(self.view(name, steps))["text/html"]
        except LabError as error:
            return f"<pre>{_escaped(error)}</pre>"

    def __repr__(self):
        return f"Explorer({', '.join(self.names)} of {self.trace!r})"

    def _repr_mimebundle_(self, include=None, exclude=None):
        figures = [mime_bundle(self.view(name)) for name in self.names]
        bundle = {
            "text/plain": "\n".join(figure["text/plain"] for figure in figures),
            "text/html": "\n".join(figure["text/html"] for figure in figures),
        }
        return (self.widget()._repr_mimebundle_() | bundle) if in_notebook() else bundle


def _escaped(error):
    import html

    return html.escape(str(error))

"""The choices of a question as radio buttons. A long choice takes several lines."""

from __future__ import annotations

from collections.abc import Sequence

# ipywidgets gives each choice the height of one line, and puts its button after the text.
STYLE = """<style>
.lablib-choices .widget-radio-box label {
  display: flex; align-items: flex-start; height: auto; line-height: 1.3; margin-bottom: 4px;
}
.lablib-choices .widget-radio-box input { order: -1; flex-shrink: 0; height: 1.3em; }
</style>"""


def radio_choices(options: Sequence[tuple[str, object]]):
    """Return radio buttons, none of them chosen; show STYLE in an HTML widget beside them.

    options   text and value of each choice
    """
    import ipywidgets as widgets

    buttons = widgets.RadioButtons(options=options, value=None, layout={"width": "auto"})
    buttons.add_class("lablib-choices")
    return buttons

"""The field of a prediction, and the result that it unlocks, as widgets in a notebook."""

from __future__ import annotations

from html import escape

from lablib.errors import LabError
from lablib.teach.radio_choices import STYLE, radio_choices

_LOCKED = "Locked: the result appears here as soon as you have made a guess."
_COMPUTED = "The result is being computed."


def field(asked):
    """Return a box with the question, a field or the choices, a button to skip, and messages.

    asked   a `Prediction`
    """
    import ipywidgets as widgets

    entry = _choices(asked) if asked.choices else _text(asked)
    skip = widgets.Button(
        description="Skip",
        tooltip="Show the result without a guess",
        layout={"margin": "0 0 0 1em"},
    )
    note = widgets.HTML(_note(asked))

    def typed(change):
        if change["new"] in (None, ""):
            return
        try:
            asked.answer(change["new"])
        except LabError as error:
            note.value = f"<p>{escape(str(error.wrong))} {escape(str(error.do))}</p>"

    def opened():
        entry.disabled = skip.disabled = True
        note.value = _note(asked)

    entry.observe(typed, "value")
    skip.on_click(lambda _: asked.skip())
    asked.when_open(opened)
    title = widgets.HTML(f"{STYLE}<b>Your prediction:</b> {escape(asked.question)}")
    return widgets.VBox([title, widgets.HBox([entry, skip]), note])


def field_and_result(reveal):
    """Return the field with the locked result below it, which unlocks when there is a guess.

    reveal   a `Reveal`
    """
    import ipywidgets as widgets
    from IPython.display import display

    result = widgets.HTML(f"<p>{_LOCKED}</p>")
    more = widgets.Output()

    def unlock():
        result.value = f"<p>{_COMPUTED}</p>"
        shown = ""
        with more:  # it shows an error, and does not raise it
            shown = reveal.revealed.html(reveal.why)
            if reveal.show:
                display(reveal.show())
        result.value = shown

    above = [] if reveal.prediction.is_open else [reveal.prediction.widget()]
    reveal.prediction.when_open(unlock)
    return widgets.VBox([*above, result, more])


def _text(asked):
    import ipywidgets as widgets

    expected = f"a number, in {asked.unit}" if asked.unit else "a number or a word"
    return widgets.Text(placeholder=f"{expected}; then Enter", continuous_update=False)


def _choices(asked):
    return radio_choices([(str(choice), choice) for choice in asked.choices])


def _note(asked):
    return f"<p>{escape(repr(asked))}</p>" if asked.is_open else ""

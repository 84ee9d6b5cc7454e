"""A written question as text, as HTML, and as a text field with a button in a notebook."""

from __future__ import annotations

from html import escape

from lablib.errors import LabError
from lablib.teach.written_text import words

_READER = {
    "instructor": "Your instructor reads this answer and gives it up to {points} points. You hand "
    "it in with the lab.",
    "yourself": "Only you read this answer. When you have saved it, you see a model answer and "
    "compare the two.",
}
_WHICH = "Which of these points does your answer have?"


def as_text(answer) -> str:
    """Return the question, what has been answered, and what may be shown, for a terminal."""
    question, number = answer.question, answer.question.number
    parts = [f"{number} {question.title}", question.question.strip(), _reader(question)]
    if question.is_graded:
        parts += ["What counts:", *_rubric_lines(question)]
    parts.append(f"Your answer: {answer.state}\n{answer.text}".rstrip())
    if not answer.is_saved:
        parts.append(f'lab.explain("{number}").answer("...") saves an answer')
    elif not question.is_graded:
        parts += [f"A model answer:\n{question.answer.strip()}", _WHICH, *_rubric_lines(question)]
        parts.append(f'lab.explain("{number}").assess(1, 2) says: the points 1 and 2')
    return "\n".join(parts)


def as_html(answer) -> str:
    """Return the same for a notebook without widgets; every text is escaped."""
    parts = [_question(answer.question), f"<p>Your answer: {escape(answer.state)}</p>"]
    if answer.text:
        parts.append(f'<div style="white-space: pre-wrap">{escape(answer.text)}</div>')
    if answer.is_revealed and not answer.question.is_graded:
        parts += [_model_answer(answer.question), f"<p>{_WHICH}</p>", _rubric(answer.question)]
    return "\n".join(parts)


def field(answer):
    """Return a box with the question, a field, a button, and what is shown after saving.

    answer   a `WrittenAnswer`
    """
    import ipywidgets as widgets

    entry = widgets.Textarea(
        value=answer.text,
        rows=8,
        placeholder="Type your answer here.",
        tooltip="Your answer",
        layout={"width": "auto", "max_width": "60em"},
    )
    save = widgets.Button(description="Save", tooltip="Save the answer")
    note = widgets.HTML(_note(answer))
    below = widgets.VBox(_below(answer))

    def attempt(action):
        try:
            action(entry.value)
        except LabError as error:
            note.value = f"<b>{escape(f'{error.wrong} {error.saw}: {error.do}')}.</b>"
        else:
            note.value = _note(answer)

    def pressed(_button):
        attempt(answer.answer)
        if not below.children:
            below.children = _below(answer)

    entry.observe(lambda _: attempt(answer.keep_draft), "value")
    save.on_click(pressed)
    title = widgets.HTML(_question(answer.question))
    return widgets.VBox([title, entry, widgets.HBox([save, note]), below])


def _below(answer):
    """Return the model answer and a box to tick for each point of the rubric."""
    import ipywidgets as widgets

    if answer.question.is_graded or not answer.is_saved:
        return ()
    boxes = [
        widgets.Checkbox(
            value=number in (answer.ticked or ()),
            description=f"Point {number}",
            indent=False,
            layout={"width": "7em"},
        )
        for number in range(1, len(answer.question.rubric) + 1)
    ]
    result = widgets.HTML(escape(answer.state))

    def ticked(_change):
        answer.assess(*(number for number, box in enumerate(boxes, start=1) if box.value))
        result.value = escape(answer.state)

    for box in boxes:
        box.observe(ticked, "value")
    texts = [widgets.HTML(escape(point.text)) for point in answer.question.rubric]
    lines = [widgets.HBox(pair) for pair in zip(boxes, texts)]
    title = widgets.HTML(f"{_model_answer(answer.question)}{_paragraph(_WHICH)}")
    return (title, *lines, result)


def _note(answer):
    count = words(answer.text)
    if not count:
        return "Your answer is kept while you type."
    if not answer.is_saved:
        state = "kept as a draft. Press Save when you have finished."
    else:
        state = "saved for your instructor." if answer.question.is_graded else "saved."
    return f"{count} word{'s' * (count > 1)}, {state}"


def _question(question):
    parts = [
        f"<b>{escape(question.number)} {escape(question.title)}</b>",
        _paragraphs(question.question),
        _paragraph(escape(_reader(question))),
    ]
    if question.is_graded:
        parts += [_paragraph("What counts:"), _rubric(question)]
    return f'<div style="max-width: 60em; line-height: 1.5">{"".join(parts)}</div>'


def _reader(question):
    return _READER[question.reader].format(points=f"{question.points:g}")


def _model_answer(question):
    return f"{_paragraph('<b>A model answer</b>')}{_paragraphs(question.answer)}"


def _paragraphs(text):
    return "".join(_paragraph(escape(part)) for part in text.strip().split("\n\n"))


def _paragraph(html):
    return f'<p style="margin: .3em 0">{html}</p>'


def _rubric(question):
    items = "".join(f"<li>{escape(line)}</li>" for line in map(_point, question.rubric))
    return f'<ol style="margin: .3em 0">{items}</ol>'


def _rubric_lines(question):
    return [f"  {n}  {_point(point)}" for n, point in enumerate(question.rubric, start=1)]


def _point(point):
    return f"{point.text} ({point.points:g} point{'s' * (point.points != 1)})"

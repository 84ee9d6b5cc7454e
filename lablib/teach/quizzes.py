"""`lab.quiz`: a question with choices; each choice is explained as soon as it is chosen."""

from __future__ import annotations

from html import escape

from lablib.errors import LabError
from lablib.teach import progress, quizzes_file
from lablib.teach.quizzes_file import Question
from lablib.teach.radio_choices import STYLE, radio_choices
from lablib.teach.widget_bundle import bundle

_GREEN, _RED = "#00885f", "#cc5500"  # legible on white and on black


class Quiz:
    """A question as a widget, or as text if there are no widgets.

    Without widgets, call `answer(2)` to choose the second choice.
    """

    def __init__(self, question: Question):
        self.question = question

    def answer(self, choice: int) -> Verdict:
        """Choose a choice, counted from 1; return whether it is right, and why."""
        choices = self.question.choices
        if choice not in range(1, len(choices) + 1):
            raise LabError(
                "There is no such choice.", saw=repr(choice), do=f"choose 1 to {len(choices)}"
            )
        chosen = choices[choice - 1]
        entry = {"choice": choice, "right": chosen.right}
        progress.keep("quiz", self.question.number, entry)
        return Verdict(chosen.right, chosen.why)

    def widget(self):
        """Return the question as an ipywidgets box."""
        import ipywidgets as widgets

        texts = [choice.text for choice in self.question.choices]
        options = [(text, number) for number, text in enumerate(texts, start=1)]
        radio = radio_choices(options)
        verdict = widgets.HTML()

        def answered(change):
            if change["new"] is not None:
                verdict.value = self.answer(change["new"])._repr_html_()

        radio.observe(answered, "value")
        question = f"<b>{escape(self.question.number)}</b> {_html(self.question)}"
        title = widgets.HTML(STYLE + question)
        return widgets.VBox([title, radio, verdict])

    def __repr__(self):
        lines = [f"{self.question.number} {self.question.question}"]
        lines += [f"  {n}  {c.text}" for n, c in enumerate(self.question.choices, start=1)]
        lines.append(f'  lab.quiz("{self.question.number}").answer(1) chooses the first')
        return "\n".join(lines)

    def _repr_html_(self):
        items = "".join(f"<li>{escape(choice.text)}</li>" for choice in self.question.choices)
        return (
            f"<p><b>{escape(self.question.number)}</b> {_html(self.question)}</p><ol>{items}</ol>"
        )

    def _repr_mimebundle_(self, include=None, exclude=None):
        return bundle(self, repr(self), self._repr_html_())


class Verdict:
    """The verdict on a choice: whether it is right, and why."""

    def __init__(self, right: bool, why: str):
        self.right, self.why = right, why

    def __repr__(self):
        return f"{'Right' if self.right else 'Not right'}. {self.why}"

    def _repr_html_(self):
        color, word = (_GREEN, "✓ Right.") if self.right else (_RED, "✗ Not right.")
        return f'<p><b style="color: {color}">{word}</b> {escape(self.why)}</p>'


class KnowledgeCheck:
    """All questions of a lab, below one another."""

    def __init__(self, quizzes: list[Quiz]):
        self.quizzes = quizzes

    def widget(self):
        import ipywidgets as widgets

        return widgets.VBox([one.widget() for one in self.quizzes])

    def __repr__(self):
        return "\n".join(map(repr, self.quizzes))

    def _repr_html_(self):
        return "".join(one._repr_html_() for one in self.quizzes)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return bundle(self, repr(self), self._repr_html_())


def quiz(number: str) -> Quiz | KnowledgeCheck:
    """Return the quiz "3.a", or, for "3", all quizzes of lab 03; raise LabError for others."""
    ours = [each for each in quizzes_file.numbers() if each.partition(".")[0] == str(number)]
    if ours:
        return KnowledgeCheck([Quiz(quizzes_file.find(each)) for each in ours])
    return Quiz(quizzes_file.find(number))


def _html(question):
    return escape(question.question)

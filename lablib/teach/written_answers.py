"""`lab.explain`: a question that the learner answers in sentences.

The instructor reads the answer, or the learner compares it with a model answer. In both cases it is
stored while the learner types, so it survives a restart of the kernel.
"""

from __future__ import annotations

from lablib.errors import LabError
from lablib.teach import given_answers, progress, written_questions
from lablib.teach.widget_bundle import bundle
from lablib.teach.written_questions import WrittenQuestion
from lablib.teach.written_text import LEAST_WORDS, MOST_CHARACTERS, cleaned, state, words


class WrittenAnswer:
    """A written question with the learner's answer.

    kept      the stored entry; {} if there is none

    text      the answer so far; "" if there is none
    is_saved  True once an answer was saved: then a model answer, if there is one, is shown
    ticked    the numbers of the rubric's points that the learner finds in the answer; None if the
              learner has not assessed it yet
    """

    def __init__(self, question: WrittenQuestion, kept: dict):
        self.question = question
        self.text: str = kept.get("text", "")
        self.is_saved: bool = kept.get("saved", False)
        self.ticked: list[int] | None = kept.get("ticked")

    def answer(self, text: str) -> WrittenAnswer:
        """Save the answer. It can be changed and saved again.

        Raises LabError if the answer is shorter than 8 words or longer than 5,000 characters.
        """
        self.keep_draft(text)
        if (written := words(self.text)) < LEAST_WORDS:
            raise LabError(
                "The answer is too short.",
                saw=f"{written} word{'s' * (written != 1)}",
                do=f"write at least {LEAST_WORDS} words",
            )
        self.is_saved = True
        return self._store()

    def keep_draft(self, text: str) -> WrittenAnswer:
        """Store what the learner has typed so far. Raises LabError if it is too long."""
        if not isinstance(text, str):
            raise LabError("An answer is a text.", saw=repr(text)[:100], do='write it in quotes: "')
        if len(text := cleaned(text)) > MOST_CHARACTERS:
            raise LabError(
                "The answer is too long, so your last changes are not stored.",
                saw=f"{len(text):,} characters",
                do=f"shorten it to at most {MOST_CHARACTERS:,} characters",
            )
        self.text = text
        return self._store()

    def assess(self, *points: int) -> WrittenAnswer:
        """Say which points of the rubric the saved answer has, by their numbers, from 1."""
        if self.question.is_graded or not self.is_saved:
            raise LabError(
                "There is nothing to assess.",
                saw="the instructor reads it" if self.question.is_graded else "no saved answer",
                do="save an answer to a question that you assess yourself",
            )
        most = len(self.question.rubric)
        if strangers := [point for point in points if point not in range(1, most + 1)]:
            raise LabError(
                "The rubric has no such point.", saw=repr(strangers[0]), do=f"choose 1 to {most}"
            )
        self.ticked = sorted(set(points))
        return self._store()

    @property
    def is_revealed(self) -> bool:
        """Return whether the rubric is shown, and the model answer, if there is one."""
        return self.question.is_graded or self.is_saved

    @property
    def state(self) -> str:
        """Return how far the answer is, as `lab.progress()` shows it."""
        return state(self.question, self._entry())

    def _entry(self):
        return {"text": self.text, "saved": self.is_saved, "ticked": self.ticked}

    def _store(self):
        if not progress.keep("written", self.question.number, self._entry()):
            raise LabError(
                "Your answer could not be stored.",
                saw="the disk is full, or the folder .lablib cannot be written",
                do="copy the answer to another place, make room, and save it again",
            )
        return self

    def widget(self):
        """Return the question with its text field, as an ipywidgets box."""
        from lablib.teach.written_field import field

        return field(self)

    def __repr__(self):
        from lablib.teach.written_field import as_text

        return as_text(self)

    def _repr_html_(self):
        from lablib.teach.written_field import as_html

        return as_html(self)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return bundle(self, repr(self), self._repr_html_())


def explain(number: str, answer: str | None = None) -> WrittenAnswer:
    """Ask a written question, such as "6.w1", and show a text field for the answer.

    number   the number of the question
    answer   None: show the field. A text: save it as the answer. The environment variable
             LABLIB_GUESSES gives answers in runs without a learner: "skip", or JSON such as
             {"6.w1": "The gate passed, because ..."}

    The answer is stored while it is typed, so it survives a restart of the kernel. Without widgets,
    save it with `.answer("...")`. Raises LabError if there is no such question, and for an answer
    that is too short or too long.
    """
    question = written_questions.find(number)
    given = given_answers.find(number) if answer is None else answer
    if given is given_answers.SKIP:  # a run without a learner publishes nobody's answer
        return WrittenAnswer(question, {})
    asked = WrittenAnswer(question, progress.kept("written", number))
    return asked if given is None else asked.answer(given)

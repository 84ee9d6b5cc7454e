"""`lab.predict`: a guess before the result. The result stays locked until there is a guess."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lablib.teach import given_answers, progress
from lablib.teach.guess_error import Revealed
from lablib.teach.guesses import as_guess, plain, with_unit
from lablib.teach.widget_bundle import bundle


class Prediction:
    """A question with a field for the guess. `reveal` compares the guess with the result."""

    def __init__(self, question: str, unit: str = "", choices: Sequence = (), topic: str = ""):
        self.question = question
        self.unit = unit
        self.topic = topic
        self.choices = [plain(choice) for choice in choices]
        kept = progress.kept("prediction", question)
        self.guess = kept.get("guess")
        self.skipped = bool(kept.get("skipped"))
        self._waiting: list[Callable] = []  # results to unlock

    @property
    def is_open(self) -> bool:
        """True if there is a guess, or if the learner chose to skip the question."""
        return self.guess is not None or self.skipped

    def answer(self, guess: object) -> Prediction:
        """Store the guess and unlock the results that wait for it.

        guess   a number, True or False, or a short text such as "3.5 MB"; one of `choices`, if
                there are any

        Raises LabError for a guess of another kind.
        """
        self.guess = as_guess(guess, self.unit, self.choices)
        self.skipped = False
        return self._store()

    def skip(self) -> Prediction:
        """Unlock the results without a guess. `lab.progress()` counts the skipped questions."""
        self.guess, self.skipped = None, True
        return self._store()

    def reveal(self, happened: object, why: str = "", show: Callable | None = None) -> Reveal:
        """Show the result beside the guess. Without a guess, show the field instead.

        happened   a value of the same kind as the guess (also a NumPy number), or a function
                   that returns it and is called when there is a guess
        why        an explanation, shown below the result
        show       a function that returns what else to show then, for example a figure
        """
        return Reveal(self, happened, why, show)

    def when_open(self, action: Callable) -> None:
        """Call `action` as soon as there is a guess."""
        if self.is_open:
            action()
        else:
            self._waiting.append(action)

    def keep_result(self, revealed: Revealed) -> None:
        """Store the result and the error of the guess, for `lab.progress()`."""
        self._keep(happened=revealed.happened, error=revealed.error)

    def _store(self):
        self._keep()
        while self._waiting:
            self._waiting.pop(0)()
        return self

    def _keep(self, **more):
        entry = {"guess": self.guess, "skipped": self.skipped, "topic": self.topic} | more
        progress.keep("prediction", self.question, entry)

    def widget(self):
        """Return the question with its field and a button to skip it, as an ipywidgets box."""
        from lablib.teach.prediction_field import field

        return field(self)

    def __repr__(self):
        if self.skipped:
            return f"{self.question}: skipped"
        if self.guess is not None:
            return f"{self.question}: your guess is {with_unit(self.guess, self.unit)}"
        choices = f" One of: {', '.join(map(str, self.choices))}." if self.choices else ""
        return f"{self.question}: no guess yet.{choices} Type .answer(your guess), or .skip()"

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": repr(self)} if self.is_open else bundle(self, repr(self))


class Reveal:
    """A result that is locked until there is a guess."""

    def __init__(self, prediction: Prediction, happened: object, why: str, show: Callable | None):
        self.prediction = prediction
        self.why = why
        self.show = show
        self._happened, self._revealed = happened, None

    @property
    def revealed(self) -> Revealed | None:
        """The guess beside the result; None while the result is locked."""
        if self._revealed is None and self.prediction.is_open:
            happened = self._happened() if callable(self._happened) else self._happened
            asked = self.prediction
            self._revealed = Revealed(asked.question, asked.guess, plain(happened), asked.unit)
            asked.keep_result(self._revealed)
        return self._revealed

    def widget(self):
        """Return the field, and below it the result as soon as there is a guess."""
        from lablib.teach.prediction_field import field_and_result

        return field_and_result(self)

    def __repr__(self):
        if self.revealed is None:
            return f"{self.prediction!r}. Then run this cell again."
        return f"{self.revealed!r}\n{self.why}".rstrip()

    def _ipython_display_(self):
        from IPython.display import display

        if self.revealed is None:
            return display(bundle(self, repr(self)), raw=True)
        display({"text/plain": repr(self), "text/html": self.revealed.html(self.why)}, raw=True)
        if self.show:
            display(self.show())


def predict(
    question: str,
    guess: object = None,
    unit: str = "",
    *,
    choices: Sequence = (),
    topic: str = "",
) -> Prediction:
    """Ask for a guess; `.reveal(what_happened)` then shows the result beside it.

    question   the question, such as "speed-up on 4 ranks"
    guess      None: show a field to type it into. A number, True, False or a short text: take this.
               The environment variable LABLIB_GUESSES gives guesses in runs without a learner:
               "skip", or JSON such as {"speed-up on 4 ranks": 3}
    unit       the unit of the number, such as "MB"
    choices    the possible answers, if the learner is to choose one
    topic      the topic under which `lab.progress()` counts the prediction, such as "scaling"

    A guess is stored, so it survives a restart of the kernel. Raises LabError for a guess of
    another kind.
    """
    asked = Prediction(question, unit, choices, topic)
    given = given_answers.find(question) if guess is None else guess
    if given is given_answers.SKIP:
        return asked.skip()
    return asked if given is None else asked.answer(given)

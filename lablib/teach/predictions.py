"""`lab.predict`: write down what you expect, then compare it with what happened."""

from __future__ import annotations

import math
import numbers
from html import escape

from lablib.errors import LabError
from lablib.teach import progress

_SAME = 1e-9


class Prediction:
    """A guess, which `reveal` later shows beside what happened."""

    def __init__(self, question: str, guess: object = None, unit: str = ""):
        if guess is not None and not isinstance(guess, (str, bool)) and not _is_number(guess):
            raise LabError(
                "A guess must be a number, True or False, or a short text.",
                saw=repr(guess),
                do="write, for example, lab.predict('speed-up on 4 ranks', 3.0)",
            )
        self.question, self.guess, self.unit = question, guess, unit
        if guess is not None:
            progress.keep("prediction", question, {"guess": guess})

    def reveal(self, happened: object) -> Revealed:
        """Show what happened beside the guess.

        A number is scored by its error, and other guesses by equality.

        happened   a value of the same kind as the guess; it can be a NumPy number
        """
        happened = happened.item() if hasattr(happened, "item") else happened
        revealed = Revealed(self.question, self.guess, happened, self.unit)
        if revealed.error is not None:
            entry = {"guess": self.guess, "happened": happened, "error": revealed.error}
            progress.keep("prediction", self.question, entry)
        return revealed

    def __repr__(self):
        if self.guess is None:
            return (
                f"{self.question}: no guess yet. Write your guess into the cell and run it again."
            )
        return f"{self.question}: your guess is {_shown(self.guess, self.unit)}"


class Revealed:
    """A guess beside what happened."""

    def __init__(self, question, guess, happened, unit=""):
        self.question, self.guess, self.happened, self.unit = question, guess, happened, unit

    @property
    def error(self) -> float | None:
        """Return how far off the guess was, relative to what happened; None without a guess.

        For a guess that is not a number, this is 0 if it was right and 1 if not.
        """
        if self.guess is None:
            return None
        if not (_is_number(self.guess) and _is_number(self.happened)):
            return float(self.guess != self.happened)
        return abs(self.guess - self.happened) / max(abs(self.happened), _SAME)

    @property
    def verdict(self) -> str:
        if self.error is None:
            return "no guess was made"
        if self.error < 0.005:
            return "exactly so"
        if not (_is_number(self.guess) and _is_number(self.happened)):
            return "otherwise"
        if self.error > 1:
            factor = max(self.guess, self.happened) / max(min(self.guess, self.happened), _SAME)
            return f"{factor:.1f} times apart" if factor < 1e6 else "far apart"
        return f"{self.error:.0%} off"

    def __repr__(self):
        guess = "–" if self.guess is None else _shown(self.guess, self.unit)
        happened = _shown(self.happened, self.unit)
        return f"{self.question}: guess {guess}, result {happened} ({self.verdict})"

    def _repr_html_(self):
        rows = [("your guess", self.guess, "#6b6b6b"), ("what happened", self.happened, "#0072B2")]
        bars = "".join(self._row(*row) for row in rows)
        return (
            f'<div role="img" aria-label="{escape(repr(self))}" style="max-width: 40em">'
            f"<b>{escape(self.question)}</b>: {escape(self.verdict)}<table>{bars}</table></div>"
        )

    def _row(self, name, value, color):
        shown = "–" if value is None else _shown(value, self.unit)
        style = f"background: {color}; height: .9em; width: {self._width(value):.1f}em"
        bar = f'<div style="{style}"></div>'
        cells = [escape(name), bar, escape(shown)]
        return (
            "<tr>"
            + "".join(f'<td style="text-align: left">{cell}</td>' for cell in cells)
            + "</tr>"
        )

    def _width(self, value):
        known = [abs(v) for v in (self.guess, self.happened) if _is_number(v)]
        return 18 * abs(value) / max(max(known), _SAME) if _is_number(value) and known else 0


def predict(question: str, guess: object = None, unit: str = "") -> Prediction:
    """Store your guess; show it beside the result with `.reveal(what_happened)`.

    question   the question, such as "speed-up on 4 ranks"
    guess      a number, True or False, or a short text; None: no guess yet
    unit       the unit of the number, such as "MB"

    Raises LabError for a guess of another kind.
    """
    return Prediction(question, guess, unit)


def _is_number(value):
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)


def _shown(value, unit):
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return f"{text} {unit}".strip()

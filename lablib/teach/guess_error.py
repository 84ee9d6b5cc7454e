"""A guess beside the result, in words and as two bars."""

from __future__ import annotations

from html import escape

from lablib.teach.guesses import is_number, is_right, with_unit

_SAME = 1e-9
_EXACT = 0.005


class Revealed:
    """A guess beside the result. `guess` is None if the question was skipped."""

    def __init__(self, question: str, guess: object, happened: object, unit: str = ""):
        self.question = question
        self.guess = guess
        self.happened = happened
        self.unit = unit

    @property
    def error(self) -> float | None:
        """Return how far off the guess was, relative to the result; None without a guess.

        For a guess that is not a number, this is 0 if it was right and 1 if not.
        """
        if self.guess is None:
            return None
        if not (is_number(self.guess) and is_number(self.happened)):
            return float(not is_right(self.guess, self.happened))
        return abs(self.guess - self.happened) / max(abs(self.happened), _SAME)

    @property
    def verdict(self) -> str:
        """Return the error in words.

        >>> [Revealed("q", guess, 10.0).verdict for guess in (10, 9, 12, 50, 1, -3)]
        ['exact', '10% too low', '20% too high', '5.0 times too high', '10.0 times too low', \
'the sign is wrong']
        """
        if self.error is None:
            return "skipped"
        if not (is_number(self.guess) and is_number(self.happened)):
            return "wrong" if self.error else "right"
        if self.error < _EXACT:
            return "exact"
        return self._distance()

    def _distance(self):
        if self.happened == 0:
            return "the result is 0"
        ratio = self.guess / self.happened
        if ratio < 0:
            return "the sign is wrong"
        side = "too high" if self.guess > self.happened else "too low"
        if 0.5 < ratio < 2:
            return f"{self.error:.0%} {side}"
        factor = max(ratio, 1 / ratio) if ratio else float("inf")
        return f"{factor:.1f} times {side}" if factor < 1e6 else f"far {side}"

    def __repr__(self):
        guess = "none" if self.guess is None else with_unit(self.guess, self.unit)
        happened = with_unit(self.happened, self.unit)
        return f"{self.question}: guess {guess}, result {happened} ({self.verdict})"

    def html(self, why: str = "") -> str:
        """Return the question, the verdict, two bars and the explanation; all text is escaped."""
        rows = [("your guess", self.guess, "#6b6b6b"), ("the result", self.happened, "#0072B2")]
        bars = "".join(self._row(*row) for row in rows)
        explained = f"<p>{escape(why)}</p>" if why else ""
        return (
            f'<div role="img" aria-label="{escape(repr(self))}" style="max-width: 40em">'
            f"<b>{escape(self.question)}</b>: {escape(self.verdict)}<table>{bars}</table></div>"
            f"{explained}"
        )

    def _row(self, name, value, color):
        shown = "–" if value is None else with_unit(value, self.unit)
        style = f"background: {color}; height: .9em; width: {self._width(value):.1f}em"
        bar = f'<div style="{style}"></div>'
        cells = [escape(name), bar, escape(shown)]
        columns = "".join(f'<td style="text-align: left">{cell}</td>' for cell in cells)
        return f"<tr>{columns}</tr>"

    def _width(self, value):
        known = [abs(v) for v in (self.guess, self.happened) if is_number(v)]
        return 18 * abs(value) / max(max(known), _SAME) if is_number(value) and known else 0

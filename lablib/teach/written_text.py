"""The text of a written answer: its limits, its cleaning, and how far it is."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

MOST_CHARACTERS = 5000
LEAST_WORDS = 8
# These invisible characters belong to words in Persian and Hindi, and to some emoji.
JOINERS = "\u200c\u200d"


def cleaned(text: str) -> str:
    """Return the text with plain spaces and line ends, without characters that nobody sees.

    >>> cleaned("two\\xa0words\\r\\n\\x1b[31mred ")
    'two words\\n[31mred'
    """
    return "".join(map(_shown, "\n".join(text.splitlines()))).strip()


def _shown(character):
    kind = unicodedata.category(character)
    if kind == "Zs" or character == "\t":
        return " "
    # Control characters, marks that change the direction of reading, halves of a pair.
    hidden = kind in ("Cc", "Cf", "Cs") and character not in f"\n{JOINERS}"
    return "" if hidden else character


def words(text: str) -> int:
    """Return the number of words."""
    return len(text.split())


def state(question, kept: Mapping) -> str:
    """Say how far the learner's answer is.

    question   a `WrittenQuestion`
    kept       the stored entry: text, whether it was saved, the ticked points of the rubric
    """
    if not kept.get("text"):
        return "not written yet"
    if not kept.get("saved"):
        return "a draft, not saved yet"
    if question.is_graded:
        return "saved, to be read by the instructor"
    if kept.get("ticked") is None:
        return "saved, not self-assessed yet"
    of = sum(point.points for point in question.rubric)
    numbered = enumerate(question.rubric, start=1)
    has = sum(point.points for number, point in numbered if number in kept["ticked"])
    return f"self-assessed {has:g} of {of:g}"

"""Find the names of the notebook that a function looks up as text, such as `globals()["F"]`."""

from __future__ import annotations

import dis
import re
from collections.abc import Iterator
from types import CodeType, FunctionType

# Python's means of getting a global variable by its text; for the last two, its module.
_LOOK_UP = {"globals", "eval", "exec", "__main__", "__name__"}
_MENTION = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_CONST", "IMPORT_NAME"}


def names_as_text(function: FunctionType) -> set[str]:
    """Return all words of the function's code, if it can look up names; else an empty set.

    The words are those of its texts and the attributes that it reads. Names that it composes while
    it runs, such as `globals()["F" + letter]`, are not among them.
    """
    codes = list(codes_inside(function.__code__))
    if not any(map(_looks_up, codes)):
        return set()
    texts = [text for code in codes for text in code.co_consts if isinstance(text, str)]
    texts = [text for text in texts if text != function.__doc__]
    words = (word for text in texts for word in re.findall(r"\w+", text))
    return {*words, *(name for code in codes for name in code.co_names)}


def codes_inside(code: CodeType) -> Iterator[CodeType]:
    """Yield the code and that of the functions inside it."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from codes_inside(inner)


def _looks_up(code):
    steps = (step for step in dis.get_instructions(code) if step.opname in _MENTION)
    return any(isinstance(step.argval, str) and step.argval in _LOOK_UP for step in steps)

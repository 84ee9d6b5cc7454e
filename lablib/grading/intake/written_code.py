"""The fingerprints of a learner's code: of each answer with its helpers, and of the whole notebook.

Code that came with the lab does not count.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from textwrap import dedent

from lablib.grading.intake.similarity import fingerprints

_IPYTHON_LINE = re.compile(r"^\s*[%!].*$", re.MULTILINE)
_TOO_MUCH = (SyntaxError, ValueError, RecursionError, MemoryError)


def written(
    cells: Iterable[str], released: Iterable[str], names: Mapping[str, Sequence[str]]
) -> tuple[dict[str, list[int]], list[int]]:
    """The fingerprints by exercise, and of the whole notebook.

    cells, released   the sources of the code cells: the learner's, and as the lab came
    names             by exercise, the functions that answer it in this notebook
    """
    lab = [_python(source) for source in released]
    sources = [source for source in map(_python, cells) if source not in lab]
    sources += [text for source in sources for text in _texts_of_lines(source)]
    came_with_it = _prints(lab)
    definitions = _definitions(sources)
    answers = {exercise: _prints(_with_all_it_uses(wanted, definitions)) - came_with_it
               for exercise, wanted in names.items()}  # fmt: skip
    whole = _prints(sources) - came_with_it
    return {exercise: sorted(found) for exercise, found in answers.items()}, sorted(whole)


def _python(source):
    return _IPYTHON_LINE.sub("", source).strip()


def _texts_of_lines(source):
    """Yield the texts of several lines, which may be programs for `exec`."""
    try:
        nodes = ast.walk(ast.parse(source))
    except _TOO_MUCH:
        return
    texts = (node.value for node in nodes if isinstance(node, ast.Constant))
    yield from (dedent(text) for text in texts if isinstance(text, str) and "\n" in text)


def _prints(sources) -> set[int]:
    return reduce(set.union, map(set, map(fingerprints, sources)), set())


def _definitions(sources):
    """Return {name: (source of the last statement that binds it, names that it uses)}."""
    found = {}
    for source in sources:
        try:
            statements = ast.parse(source).body
        except _TOO_MUCH:
            continue
        lines = source.splitlines()
        for node in statements:
            used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            found |= dict.fromkeys(_bound(node), (text, used))
    return found


def _bound(statement):
    """Yield the functions, classes and variables that a statement binds, also inside an `if`."""
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
    if isinstance(statement, ast.Assign):
        yield from (
            n.id for part in statement.targets for n in ast.walk(part) if isinstance(n, ast.Name)
        )


def _with_all_it_uses(wanted, definitions):
    """The sources of these definitions, and of all that they use."""
    due, taken = list(wanted), set()
    while due:
        name = due.pop()
        if name in definitions and name not in taken:
            taken.add(name)
            due += definitions[name][1]
    return [definitions[name][0] for name in sorted(taken)]

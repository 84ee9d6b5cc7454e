"""Read the Python code of a notebook's cells with `ast`, without running it.

IPython's own lines (!ls, name?, %matplotlib) are dropped; of `%time x = f()` the statement stays.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator, Sequence

_PYTHON_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun")
_TIMED_LINE = re.compile(r"(\s*)%(?:time|prun)\s+(?!-)(.*)")
_IPYTHON_LINE = re.compile(r"\s*([%!?]|[\w.]+\s*=\s*[%!]|[\w.]+\?\??\s*$)")
# A comment, triple quotes, a string of one line, a bracket.
_PIECE = re.compile(
    r"""#.*|(?P<quotes>\"{3}|'{3})|'(?:\\.|[^'\\])*+'?|"(?:\\.|[^"\\])*+"?|[][(){}]"""
)
_UNTIL = {quotes: re.compile(rf"(?:\\.|[^\\])*?{quotes}") for quotes in ("'''", '"""')}
# ValueError: a number of so many digits that Python does not write it.
TOO_MUCH = (RecursionError, MemoryError, OverflowError, ValueError)


def parsed(source: str) -> tuple[str, ast.Module | None, tuple[int, str]]:
    """Return the cell without IPython's lines, its tree (None: not Python), and (line, error)."""
    with contextlib.suppress(SyntaxError, *TOO_MUCH):  # perhaps it is IPython's
        return source, ast.parse(source), (0, "")
    text = without_magics(source)
    try:
        return text, ast.parse(text), (0, "")
    except SyntaxError as error:
        return text, None, (error.lineno or 1, error.msg or "invalid syntax")
    except ValueError:
        return text, None, (1, "it contains characters that no program has")
    except TOO_MUCH:
        return text, None, (1, "too deep or too large to be read")


def without_magics(source: str) -> str:
    """Return the cell without IPython's lines; "" for a cell in another language, such as %%bash.

    >>> without_magics("%matplotlib inline\\nif x:\\n    !rm -r y\\n%time y = 1")
    '\\nif x:\\n    pass\\ny = 1'
    """
    first = source.lstrip().partition("\n")[0]
    if first.startswith("%%") and not first.startswith(_PYTHON_MAGICS):
        return ""
    kept = []
    is_open = False
    is_continued = False
    opened = ("", 0)
    for line in source.split("\n"):
        if is_continued or (_is_magic(line) and not is_open):
            kept.append("" if is_continued else _without_magic(line))
            is_continued = line.endswith("\\")
        else:
            kept.append(line)
            opened = _opened(line, *opened)
            is_open = any(opened) or line.endswith("\\")
    return "\n".join(kept)


def _is_magic(line):
    return bool(_TIMED_LINE.fullmatch(line) or _IPYTHON_LINE.match(line))


def _opened(line, quotes, brackets):
    """Return which triple quotes and how many brackets are open after a line.

    quotes, brackets   what is open before it

    >>> _opened("f(1, '(', '''text", "", 0)
    ("'''", 1)
    """
    at = 0
    while found := _UNTIL[quotes].match(line, at) if quotes else _PIECE.search(line, at):
        at = found.end()
        quotes = "" if quotes else found["quotes"] or ""
        brackets += (found[0] in "([{") - (found[0] in ")]}")
    return quotes, max(brackets, 0)


def _without_magic(line):
    timed = _TIMED_LINE.fullmatch(line)
    if timed:
        return timed[1] + timed[2]
    indent = line[: len(line) - len(line.lstrip())]
    return f"{indent}pass" if indent else ""


def same(one: str, other: str) -> bool:
    """Return whether two cells are the same program, except for comments and spaces."""
    if one.split() == other.split():
        return True
    trees = [parsed(source)[1] for source in (one, other)]
    try:
        return None not in trees and len({ast.dump(tree) for tree in trees}) == 1
    except TOO_MUCH:
        return False


def needed(statements: Sequence[ast.stmt], name: str) -> list[ast.stmt]:
    """Return the statements that define `name` and all names that they use, in their order.

    The result can have too many statements, because it depends only on names.

    >>> tree = ast.parse("a = 1\\nb = 2\\ndef f(): return g(a)\\ndef g(x): return x")
    >>> [ast.unparse(node).split("\\n")[0] for node in needed(tree.body, "f")]
    ['a = 1', 'def f():', 'def g(x):']
    """
    by_name: dict[str, list[int]] = {}
    for at, node in enumerate(statements):
        for bound in _bound(node):
            by_name.setdefault(bound, []).append(at)
    todo, kept = [name], set()
    while todo:
        for at in by_name.pop(todo.pop(), ()):
            if at not in kept:
                kept.add(at)
                todo += [n.id for n in ast.walk(statements[at]) if isinstance(n, ast.Name)]
    return [statements[at] for at in sorted(kept)]


def _bound(node) -> Iterator[str]:
    """Yield the names that a statement binds, at any depth; for a function or class, its name."""
    blocks = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
    for part in [node] if isinstance(node, blocks) else ast.walk(node):
        if isinstance(part, blocks):
            yield part.name
        elif isinstance(part, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in part.names)
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id

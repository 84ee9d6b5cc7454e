"""The Python of a notebook's cells, read with `ast` and never run: what is defined where, and
which definitions a piece of it needs.

IPython's own lines (%time, !ls, name?) are dropped. A cell with a syntax error is left out alone.
"""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lablib.grading.notebook_file import Cell

_PYTHON_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun")
_IPYTHON_LINE = re.compile(r"\s*([%!?]|[\w.]+\s*=\s*[%!]|[\w.]+\?\??\s*$)")
# What they make is a run, not a constant: it takes long, and no answer may rest on it.
_STARTS_RANKS = {"Cluster", "train", "compare", "what_if", "check", "quiz", "predict", "run"}
# ValueError: a number of so many digits that Python does not write it.
_TOO_MUCH = (RecursionError, MemoryError, OverflowError, ValueError)


@dataclass(frozen=True)
class Definition:
    """One statement at the top of a cell that binds names, and what it takes to compile it again.

    at   (cell's number, place in the cell): the order of the notebook
    """

    at: tuple[int, int]
    cell: str
    node: ast.stmt = field(repr=False)
    text: str = field(repr=False)
    first_line: int

    @property
    def is_star_import(self) -> bool:
        return isinstance(self.node, ast.ImportFrom) and self.node.names[0].name == "*"


@dataclass
class Code:
    """All definitions of a notebook by name, in order; and the cells that are no Python.

    errors   by cell number: (line, what is wrong)
    """

    cells: dict[int, Cell] = field(default_factory=dict)
    trees: dict[int, ast.Module] = field(default_factory=dict)
    definitions: dict[str, list[Definition]] = field(default_factory=dict)
    stars: list[Definition] = field(default_factory=list)
    errors: dict[int, tuple[int, str]] = field(default_factory=dict)


def read(cells: Sequence[Cell]) -> Code:
    """The definitions in these cells, all of which are taken for code."""
    code = Code()
    for cell in cells:
        code.cells[cell.number] = cell
        text, tree, error = parsed(cell.source)
        if tree is None:
            code.errors[cell.number] = error
            continue
        code.trees[cell.number] = tree
        lines = text.split("\n")
        for place, node in enumerate(tree.body):
            found = Definition(
                (cell.number, place), cell.label, node, *_text_of(node, place, tree, lines)
            )
            if found.is_star_import:
                code.stars.append(found)
            for name in _bound(node):
                code.definitions.setdefault(name, []).append(found)
    return code


def parsed(source: str) -> tuple[str, ast.Module | None, tuple[int, str]]:
    """The cell as Python without IPython's lines, its tree (None: it is none), (line, error)."""
    try:
        return source, ast.parse(source), (0, "")
    except (SyntaxError, *_TOO_MUCH):
        pass  # perhaps it is IPython's
    text = without_magics(source)
    try:
        return text, ast.parse(text), (0, "")
    except SyntaxError as error:
        return text, None, (error.lineno or 1, error.msg or "invalid syntax")
    except ValueError:
        return text, None, (1, "it holds characters that no program has")
    except _TOO_MUCH:
        return text, None, (1, "too deep or too large to be read")


def without_magics(source: str) -> str:
    """The cell without IPython's lines; "" for a cell in another language, such as %%bash.

    >>> without_magics("%matplotlib inline\\nif x:\\n    !rm -r y")
    '\\nif x:\\n    pass'
    """
    first = source.lstrip().partition("\n")[0]
    if first.startswith("%%") and not first.startswith(_PYTHON_MAGICS):
        return ""
    lines = source.split("\n")
    for number, line in enumerate(lines):
        if _IPYTHON_LINE.match(line):
            indent = line[: len(line) - len(line.lstrip())]
            lines[number] = f"{indent}pass" if indent else ""
    return "\n".join(lines)


def same(one: str, other: str) -> bool:
    """Whether two cells are the same program: comments and spaces apart."""
    if one.split() == other.split():
        return True
    trees = [parsed(source)[1] for source in (one, other)]
    try:
        return None not in trees and len({ast.dump(tree) for tree in trees}) == 1
    except _TOO_MUCH:
        return False


def with_needs(wanted: Definition, code: Code) -> list[Definition]:
    """The definitions that `wanted` needs, each before what needs it, and `wanted` last.

    Of several definitions of a name the last is taken; by one that uses its own name, the one
    before it.
    """
    ordered: list[Definition] = []
    seen: set[tuple[int, int]] = set()
    # No recursion: a notebook may hold a longer chain than Python's stack.
    todo = [(wanted, False)]
    while todo:
        one, done = todo.pop()
        if done:
            ordered.append(one)
        elif one.at not in seen:
            seen.add(one.at)
            todo.append((one, True))
            todo += [(needed, False) for needed in reversed(_needs(one, code))]
    names = {star.at for star in ordered}
    return [star for star in code.stars if star.at not in names] + ordered


def _needs(one, code):
    found = []
    for name in sorted(free_names(one.node)):
        known = [d for d in code.definitions.get(name, ()) if not _starts_ranks(d.node)]
        if name in set(_bound(one.node)):
            known = [d for d in known if d.at < one.at]
        found += known[-1:]
    return sorted(found, key=lambda definition: definition.at)


def free_names(node: ast.stmt) -> set[str]:
    """The names that a statement takes from its module, whenever it runs.

    >>> sorted(free_names(ast.parse("def f(x, n=N):\\n  y = g(x)\\n  return y").body[0]))
    ['N', 'g']
    """
    try:
        top = symtable.symtable(ast.unparse(node), "cell", "exec")
    except (SyntaxError, *_TOO_MUCH):
        return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    names = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    if isinstance(node, ast.AugAssign):
        names.update(_bound(node))
    tables = list(top.get_children())
    while tables:
        table = tables.pop()
        names |= {s.get_name() for s in table.get_symbols() if s.is_global()}
        tables += table.get_children()
    # A function that calls itself does not need another one of its name.
    return names - ({node.name} if isinstance(node, _BLOCKS) else set())


_BLOCKS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _bound(node) -> Iterator[str]:
    """Names that a statement at the top of a cell defines; loops and the like define none: they
    do something."""
    if isinstance(node, _BLOCKS):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from ((a.asname or a.name.partition(".")[0]) for a in node.names if a.name != "*")
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            parts = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
            yield from (part.id for part in parts if isinstance(part, ast.Name))
    elif isinstance(node, (ast.If, ast.Try)):
        inside = [*node.body, *node.orelse]
        for handler in getattr(node, "handlers", ()):
            inside += handler.body
        for part in inside:
            yield from _bound(part)


def _starts_ranks(node):
    if isinstance(node, (*_BLOCKS, ast.Import, ast.ImportFrom)):
        return False
    called = (part.func for part in ast.walk(node) if isinstance(part, ast.Call))
    return any(getattr(func, "attr", getattr(func, "id", "")) in _STARTS_RANKS for func in called)


def _text_of(node, place, tree, lines):
    """The statement's own lines, so that errors name them; retold where it shares a line."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    beside = tree.body[max(0, place - 1) : place] + tree.body[place + 1 : place + 2]
    shares = any(o.end_lineno >= first and o.lineno <= node.end_lineno for o in beside)
    try:
        if shares:
            return ast.unparse(node), first
    except _TOO_MUCH:
        pass
    return "\n".join(lines[first - 1 : node.end_lineno]), first

"""Rules about predictions: the guess comes first, and nothing shows the result before it.

They read the code of a lab's cells in order, without running it.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass

SHOWS = ("print", "display")
_MAGIC = re.compile(r"^\s*[%!]")


@dataclass(frozen=True)
class Statement:
    """One statement of a code cell."""

    cell: int
    node: ast.stmt
    is_last: bool  # the last expression of a cell is shown

    @property
    def binds(self) -> set[str]:
        """Return the names to which it gives values."""
        nodes = ast.walk(self.node)
        return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}

    @property
    def shown(self) -> list[ast.AST]:
        """Return what it always shows; `reveal`, which waits for a guess, does not count."""
        if isinstance(self.node, (ast.FunctionDef, ast.ClassDef)):
            return []
        shown = [call for call in _calls(self.node) if _name_of(call.func) in SHOWS]
        if self.is_last and isinstance(self.node, ast.Expr):
            shown.append(self.node.value)
        return shown


def statements(cells: list[dict]) -> list[Statement]:
    """The statements of all code cells, in order. A cell that is not Python has none."""
    found = []
    for number, cell in enumerate(cells):
        text = "".join(cell["source"])
        if cell["cell_type"] != "code" or text.startswith("%%"):
            continue
        lines = [line for line in text.splitlines() if not _MAGIC.match(line)]
        body = ast.parse("\n".join(lines)).body
        found += [Statement(number, node, node is body[-1]) for node in body]
    return found


def reveals_have_a_question(cells: list[dict]) -> Iterator[str]:
    asked: set[str] = set()
    for statement in statements(cells):
        reveals = _reveals(statement.node)
        if _asks(statement.node) or reveals and _names(statement.node) & asked:
            asked |= statement.binds
        for reveal in reveals:
            if not (_names(reveal.func) & asked or _asks(reveal.func)):
                yield (f"cell {statement.cell} reveals a result before the question: ask with "
                       "guess = lab.predict(...) in this cell or above it")  # fmt: skip


def questions_have_a_reveal(cells: list[dict]) -> Iterator[str]:
    waiting: dict[str, int] = {}
    for statement in statements(cells):
        revealed = {name for reveal in _reveals(statement.node) for name in _names(reveal.func)}
        if revealed:  # in a loop over several guesses, the loop names them
            revealed |= _names(statement.node)
        waiting = {name: cell for name, cell in waiting.items() if name not in revealed}
        if len(_asks(statement.node)) > sum(len(_asks(r.func)) for r in _reveals(statement.node)):
            binds = statement.binds or {"(no name)"}
            yield from (_never_revealed(cell) for n, cell in waiting.items() if n in binds)
            waiting |= dict.fromkeys(binds - revealed, statement.cell)
    yield from map(_never_revealed, sorted(set(waiting.values())))


def _never_revealed(cell):
    return (
        f"cell {cell} asks for a guess that nothing reveals: give the prediction a name and call "
        "its .reveal(what_happened) when the result is there"
    )


def learners_make_the_guesses(cells: list[dict]) -> Iterator[str]:
    for statement in statements(cells):
        for call in _asks(statement.node):
            given = call.args[1:2] + [k.value for k in call.keywords if k.arg == "guess"]
            if any(not (isinstance(g, ast.Constant) and g.value is None) for g in given):
                yield (f"cell {statement.cell} answers its own question: omit the second argument "
                       "of lab.predict, so that the learner gets a field")  # fmt: skip


def answers_are_computed(cells: list[dict]) -> Iterator[str]:
    constants: set[str] = set()
    for statement in statements(cells):
        for reveal in _reveals(statement.node):
            happened = reveal.args[0] if reveal.args else ast.Constant(None)
            body = happened.body if isinstance(happened, ast.Lambda) else happened
            if not _names(body) or isinstance(body, ast.Name) and body.id in constants:
                yield (f"cell {statement.cell} contains the answer as text, and learners read the "
                       "code: reveal something that was computed")  # fmt: skip
        value = getattr(statement.node, "value", None)
        is_constant = isinstance(statement.node, ast.Assign) and not _names(value)
        constants = constants | statement.binds if is_constant else constants - statement.binds


def results_stay_locked(cells: list[dict]) -> Iterator[str]:
    every = statements(cells)
    for at, statement in enumerate(every):
        for reveal in _reveals(statement.node):
            asked = _last(every[: at + 1], _names(reveal.func) | _names(statement.node), _asks)
            for name in sorted(_results(reveal, every[:at])):
                begin = _last(every[: at + 1], {name})
                for other in every[begin : at + 1] + _rest_of_cell(every, at):
                    after = every.index(other) >= asked
                    if any(_tells(node, name, reveal, after) for node in other.shown):
                        yield (f"cell {other.cell} shows `{name}` before there is a guess (cell "
                               f"{statement.cell} reveals it): show it with the argument show= of "
                               "reveal, or in a cell below")  # fmt: skip


def _rest_of_cell(every, at):
    return [other for other in every[at + 1 :] if other.cell == every[at].cell]


def _tells(node, name, reveal, after):
    """Return whether this expression gives the result away.

    After the question, whatever shows the variable does. Before it, only the same attribute of the
    variable does: `cluster` may be shown before one asks what `cluster.run(...)` will return.
    """
    if after:
        return name in _names(node)
    revealed = [path for value in _shown_by(reveal) for path in _paths(value, name)]
    return bool(_paths(node, name) & set(revealed))


def _paths(node, name):
    """Return how a node uses `name`: "run", "run.values", "run.values.x" ..."""
    found = [n for n in _visible(node) if isinstance(n, (ast.Name, ast.Attribute))]
    inside = {id(n.value) for n in found if isinstance(n, ast.Attribute)}
    return {ast.unparse(n) for n in found if id(n) not in inside and _root(n) == name}


def _results(reveal, before):
    """Return the variables from which a result is made; functions, modules and constants are not
    results."""
    used = set()
    for value in _shown_by(reveal):
        own = {a.arg for n in ast.walk(value) if isinstance(n, ast.Lambda) for a in n.args.args}
        used |= _names(value) - own
    bound = set().union(*(s.binds for s in before if not _is_plain(s.node) and not _asks(s.node)))
    return (used & bound) - set(dir(builtins))


def _shown_by(reveal):
    return [*reveal.args, *(keyword.value for keyword in reveal.keywords)]


def _is_plain(node):
    """Return whether a statement only names a constant, such as `ranks = 4`."""
    return isinstance(node, ast.Assign) and not _names(node.value)


def _last(every, names, condition=lambda node: True):
    """Return where one of these names last got a value; 0 if nowhere."""
    places = [n for n, s in enumerate(every) if s.binds & names and condition(s.node)]
    return places[-1] if places else 0


def _asks(node):
    return [call for call in _calls(node) if ast.unparse(call.func) == "lab.predict"]


def _reveals(node):
    return [c for c in _calls(node) if getattr(c.func, "attr", "") == "reveal"]


def _calls(node):
    return [n for n in ast.walk(node) if isinstance(n, ast.Call)]


def _names(node):
    return {n.id for n in _visible(node) if isinstance(n, ast.Name)}


def _visible(node):
    """Yield a node and all that it contains, without calls of `reveal`."""
    if node is None or isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "reveal":
        return
    yield node
    for part in ast.iter_child_nodes(node):
        yield from _visible(part)


def _root(node):
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return getattr(node, "id", None)


def _name_of(func):
    return func.id if isinstance(func, ast.Name) else ""

"""The answers to a lab's exercises in a notebook: found by cell, then by name; never executed.

An answer travels as text: its function, and of the other cells only the imports, functions,
classes and constants that it needs. It is compiled on the ranks, and nowhere else.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from lablib.grading import python_cells
from lablib.grading.notebook_file import Cell, Notebook
from lablib.grading.python_cells import Code, Definition

FOUND, NOT_ATTEMPTED, NOT_FOUND = "found", "not attempted", "not found"
SYNTAX_ERROR, OTHER_SHAPE = "syntax error", "cannot be called"
_BLOCKS = (ast.FunctionDef, ast.AsyncFunctionDef)
# By these a program finds what judges it. Who writes them otherwise is not seen: it is a hint.
_NO_EXERCISE_NEEDS = re.compile(
    r"_getframe|currentframe|get_objects|get_referrers|settrace|setprofile|_recorder|ctypes|/proc/"
    r"|lablib\.(?:box|cluster|grading|teach|record\.recorder)"
)
_ID_OF_EXERCISE = re.compile(r"exercise-\d+-\d+(-[a-z])?")


@dataclass(frozen=True)
class Piece:
    """Some lines of a cell. `cell` is the name that errors show, such as "cell exercise-3-2"."""

    cell: str
    first_line: int
    text: str


@dataclass(frozen=True)
class Answer:
    """What a notebook holds for one of the functions that an exercise asks for.

    name     of the function in the notebook
    status   FOUND, or why it cannot be tried: one of the constants of this module
    reason   more about the status, in words
    pieces   the program that defines it, in order
    notes    what whoever reads the grade should know
    """

    name: str
    status: str
    reason: str = ""
    pieces: tuple[Piece, ...] = ()
    notes: tuple[str, ...] = ()

    def plain(self) -> dict:
        return asdict(self)

    @classmethod
    def of(cls, plain: dict) -> Answer:
        """What `plain` wrote."""
        pieces = tuple(Piece(**piece) for piece in plain["pieces"])
        return cls(**plain | {"pieces": pieces, "notes": tuple(plain["notes"])})


@dataclass
class Reader:
    """One notebook beside the lab that it was made from; `released` may be empty."""

    notebook: Notebook
    released: Sequence[Cell] = ()
    code: Code = field(init=False)

    def __post_init__(self):
        cells = [cell for cell in self.notebook.cells if self._may_be_code(cell)]
        self.code = python_cells.read(cells)
        by_source = {cell.source.strip() for cell in self.released if cell.kind == "code"}
        self.as_released = {c.number for c in cells if c.source.strip() in by_source}

    def answers(self, number: str, signatures: Sequence[str]) -> list[Answer]:
        """The answers to exercise `number`, one for each signature that it asks for."""
        return [self._answer(number, which, due) for which, due in enumerate(signatures)]

    def _may_be_code(self, cell):
        return cell.kind == "code" or bool(_ID_OF_EXERCISE.fullmatch(cell.id))

    def _answer(self, number, which, due):
        name = due.partition("(")[0]
        ids = cell_ids(number, which)
        own = [cell.number for cell in self.code.cells.values() if cell.id in ids]
        chosen, notes = self._choose(name, own, number, which)
        if chosen is None:
            return self._missing(name, own, notes)
        if self._untouched(chosen, number, which):
            return Answer(name, NOT_ATTEMPTED)
        found = _name_in(chosen.node, name)
        if problem := _misfit(chosen.node, due):
            return Answer(found, OTHER_SHAPE, problem, notes=notes)
        pieces = tuple(
            Piece(f"cell {one.cell}", one.first_line, one.text)
            for one in python_cells.with_needs(chosen, self.code)
        )
        return Answer(found, FOUND, "", pieces, (*notes, *_reaches_out(pieces)))

    def _choose(self, name, own, number, which) -> tuple[Definition | None, tuple[str, ...]]:
        """The definition that counts: the last that the learner wrote, in the exercise's cell if
        there is one there or elsewhere; else the last that came with the lab."""
        every = self.code.definitions.get(name, [])
        theirs = [d for d in every if d.at[0] not in self.as_released
                  and not self._untouched(d, number, which)]  # fmt: skip
        if theirs:
            return theirs[-1], self._notes(theirs, own, name)
        renamed = [] if every else self._only_function(own)
        if renamed:
            note = f"the function of cell {renamed[0].cell} is called {renamed[0].node.name}"
            return renamed[0], (f"{note}, not {name}",)
        mine = [d for d in every if d.at[0] in own]
        return (mine or every or [None])[-1], ()

    def _notes(self, theirs, own, name):
        notes, last = [], theirs[-1]
        if len(theirs) > 1:
            notes.append(f"{name} is defined {len(theirs)} times; the last one counts")
        if own and last.at[0] not in own:
            notes.append(f"{name} was found by its name, in cell {last.cell}")
        if not own:
            notes.append(f"the exercise's cell is gone; {name} was found by its name")
        if self.code.cells[last.at[0]].kind != "code":
            notes.append(f"the cell of {name} is text, not code; it was graded all the same")
        return tuple(notes)

    def _only_function(self, own):
        """The one function of the exercise's own cell, when there is exactly one."""
        found = [
            definition
            for definitions in self.code.definitions.values()
            for definition in definitions
            if definition.at[0] in own and isinstance(definition.node, _BLOCKS)
            and definition.at[0] not in self.as_released
        ]  # fmt: skip
        return found if len(found) == 1 else []

    def _untouched(self, definition, number, which):
        """Whether it stands in the lab's cell for the exercise just as it came."""
        source = self.code.cells[definition.at[0]].source
        ids = cell_ids(number, which)
        starters = [cell for cell in self.released if cell.id in ids]
        return any(python_cells.same(source, starter.source) for starter in starters)

    def _missing(self, name, own, notes):
        broken = self.code.errors
        telling = re.compile(rf"^\s*(async\s+)?(def|class)\s+{re.escape(name)}\b|^{name}\s*=", re.M)
        for number in [*own, *sorted(broken, reverse=True)]:
            source = self.code.cells[number].source
            if number in broken and (number in own or telling.search(source)):
                line, error = broken[number]
                where = f"line {line} of cell {self.code.cells[number].label}"
                return Answer(name, SYNTAX_ERROR, f"{where}: {error}", notes=notes)
        return Answer(name, NOT_FOUND, f"no cell defines {name}", notes=notes)


def _reaches_out(pieces):
    """A note for whoever grades, when a program names what it has no use for."""
    named = {word for piece in pieces for word in _NO_EXERCISE_NEEDS.findall(piece.text)}
    return [f"it names {', '.join(sorted(named))}, which no exercise needs"] if named else []


def cell_ids(number: str, which: int) -> tuple[str, ...]:
    """The ids that the cell of an exercise's answer may bear: its own, or that of them all.

    >>> cell_ids("3.2", 0), cell_ids("3.2", 1)
    (('exercise-3-2', 'exercise-3-2-a'), ('exercise-3-2', 'exercise-3-2-b'))
    """
    base = f"exercise-{number.replace('.', '-')}"
    return base, f"{base}-{'abcdefghij'[which]}"


def _name_in(node, name):
    return node.name if isinstance(node, _BLOCKS) else name


def _misfit(node, due):
    """Why this function cannot be called as it will be; "" when it can, or nobody knows."""
    if not isinstance(node, _BLOCKS):
        return ""
    inside = due.partition("(")[2].rstrip(")")
    called = [part for part in inside.split(",") if part.strip()]
    try:
        signature = signature_of(node.args)
        signature.bind(*called)
    except TypeError:
        return f"it takes {str(signature)[:200]}; it is called as {due}"
    except ValueError:
        pass  # no signature at all, such as f(a, a): the compiler will say so
    return ""


def signature_of(args: ast.arguments) -> inspect.Signature:
    """The signature that such a function will have."""
    kinds = inspect.Parameter
    plain = [(a, kinds.POSITIONAL_ONLY) for a in args.posonlyargs]
    plain += [(a, kinds.POSITIONAL_OR_KEYWORD) for a in args.args]
    first = len(plain) - len(args.defaults)
    given = [kinds(a.arg, kind, default=None if n >= first else kinds.empty)
             for n, (a, kind) in enumerate(plain)]  # fmt: skip
    if args.vararg:
        given.append(kinds(args.vararg.arg, kinds.VAR_POSITIONAL))
    for a, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        given.append(
            kinds(a.arg, kinds.KEYWORD_ONLY, default=kinds.empty if default is None else None)
        )
    if args.kwarg:
        given.append(kinds(args.kwarg.arg, kinds.VAR_KEYWORD))
    return inspect.Signature(given)

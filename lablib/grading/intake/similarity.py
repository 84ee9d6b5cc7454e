"""Find answers that are too similar for chance: a reason to look at them, never a verdict.

Programs are compared without names, comments, spaces and the values of constants, as in MOSS
(Schleimer, Wilkerson and Aiken, "Winnowing", SIGMOD 2003). But all fingerprints are used, because
answers are short. Code that many share, such as the lab's own lines, does not count.
"""

from __future__ import annotations

import ast
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

_GRAM = 5
_MOST_PRINTS = 2000
LEAST_PRINTS = 12  # a shorter answer is alike by chance
_LEAST_INSIDE = 24  # a whole notebook holds a shorter one by chance
_ALIKE = 0.8
_SHARED_BY = 1 / 3  # of all answers: code this widely shared was not copied from a neighbour
_TOO_FEW_TO_TELL = 6


@dataclass(frozen=True)
class Pair:
    """Two submissions, the exercises with similar answers, and how much of these is shared."""

    ids: tuple[str, str]
    exercises: tuple[str, ...]
    shared: float
    same_file: bool = False


def fingerprints(source: str) -> list[int]:
    """Return what identifies a program, independent of its names.

    >>> fingerprints("def f(a): return a + 1") == fingerprints("def g(b):  return b + 2  # mine")
    True
    """
    try:
        program = ast.parse(source)
        tokens = list(_tokens(program, _own_attributes(program)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    grams = (tuple(tokens[at : at + _GRAM]) for at in range(len(tokens) - _GRAM + 1))
    return sorted({zlib.crc32(" ".join(gram).encode()) for gram in grams})[:_MOST_PRINTS]


def pairs(
    answers: Mapping[str, Mapping[str, Iterable[int]]],
    files: Mapping[str, str],
    notebooks: Mapping[str, Iterable[int]] | None = None,
) -> list[Pair]:
    """Return the pairs to look at, the most similar first.

    answers     by submission and exercise, the fingerprints of the learner's code; a submission
                without answers is in no pair
    files       by submission, a digest of its whole file
    notebooks   by submission, the fingerprints of all code of the learner, where an answer may be
                under another name, in another cell or in parts
    """
    written = _written(answers, notebooks or {})
    common = _widely_shared(written)
    telling = {one: {exercise: set(prints) - common for exercise, prints in by_exercise.items()}
               for one, by_exercise in answers.items()}  # fmt: skip
    found = []
    for one, other in combinations(sorted(name for name in files if telling.get(name)), 2):
        alike = {}
        for exercise in telling[one].keys() | telling[other].keys():
            mine, theirs = (telling[name].get(exercise, set()) for name in (one, other))
            share = max(
                _share(mine, theirs), _inside(mine, written[other]), _inside(theirs, written[one])
            )
            if share >= _ALIKE:
                alike[exercise] = share
        same = files[one] == files[other]
        if same or alike:
            shared = 1.0 if same else sum(alike.values()) / len(alike)
            found.append(Pair((one, other), tuple(sorted(alike)), round(shared, 2), same))
    return sorted(found, key=lambda p: (not p.same_file, -len(p.exercises), -p.shared, p.ids))


def _written(answers, notebooks):
    """Return {submission: all its fingerprints}."""
    prints = {one: set(notebooks.get(one, ())) for one in answers}
    return {one: prints[one].union(*by_exercise.values()) for one, by_exercise in answers.items()}


def _widely_shared(written):
    """Return the fingerprints that many answers have; in a small class there are none."""
    if len(written) < _TOO_FEW_TO_TELL:
        return set()
    counts = Counter(number for prints in written.values() for number in prints)
    return {number for number, times in counts.items() if times > _SHARED_BY * len(written)}


def _own_attributes(program):
    """Names that the program's own classes give to attributes and methods: free, as variables'."""
    own = set()
    for kind in ast.walk(program):
        if isinstance(kind, ast.ClassDef):
            methods = [part for part in kind.body if isinstance(part, ast.FunctionDef)]
            own |= {method.name for method in methods}
            objects = {part.args.args[0].arg for part in methods if part.args.args}
            own |= {node.attr for node in ast.walk(kind) if isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Store)
                    and getattr(node.value, "id", "") in objects}  # fmt: skip
    return own


def _tokens(node, own) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and node.attr in own and isinstance(node.value, ast.Name):
        yield "Name"  # self.x is a variable by another name
        return
    yield type(node).__name__
    if isinstance(node, ast.Attribute) and node.attr not in own:
        yield node.attr
    elif isinstance(node, ast.Constant):
        yield type(node.value).__name__
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr_context):
            yield from _tokens(child, own)


def _share(one, other):
    least = min(len(one), len(other))
    return len(one & other) / max(len(one | other), 1) if least >= LEAST_PRINTS else 0.0


def _inside(answer, written):
    """Return how much of an answer occurs in the code of another learner."""
    return len(answer & written) / len(answer) if len(answer) >= _LEAST_INSIDE else 0.0

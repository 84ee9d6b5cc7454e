"""Find answers in the Python files that learners receive.

Each solution in solutions/ is compared with each file: the answers in the notebooks, the right
answers in hidden/, and the by-hand strategies. Programs are compared by fingerprints, so other
names, comments and another order of the functions make no difference. Comments, docstrings and
pages of the documentation have no fingerprints. In them, lines of an answer are searched.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

from lablib.course.release import cut
from lablib.grading.intake.similarity import LEAST_PRINTS, fingerprints

# Measured on the kit's own files: innocent ones have at most 0.41 of a solution; by-hand strategies
# with other names and in another order have at least 0.65 of it.
_TELLS = 0.5
# Measured on the kit's own files: none of them has four lines in a row, with this many characters,
# of an answer; shorter passages occur by chance.
_IN_A_ROW, _CHARACTERS = 4, 120
_TEXTS = (".py", ".md", ".rst", ".txt")
_ID = re.compile(r"exercise-(\d+)-(\d+)")


class Secret(NamedTuple):
    """An answer.

    exercises   the numbers of those that it answers
    where       its place in solutions/
    prints      its fingerprints
    """

    exercises: tuple[str, ...]
    where: str
    prints: set[int]


def leaks(root: Path, handed_out: Iterable[Path]) -> list[str]:
    """Name each file that contains an answer, with the exercise or the similar solution."""
    handed_out = list(handed_out)
    programs = [path for path in handed_out if path.suffix == ".py"]
    names = [path.relative_to(root).as_posix() for path in programs]
    prints = [set(fingerprints(path.read_text("utf-8"))) for path in programs]
    found = compare(dict(zip(names, prints)), list(secrets(root / "solutions")))
    texts = {path.relative_to(root).as_posix(): path.read_text("utf-8")
             for path in handed_out if path.suffix in _TEXTS}  # fmt: skip
    return found + copied(texts, root / "solutions")


def copied(texts: Mapping[str, str], solutions: Path) -> list[str]:
    """Name each text with lines in a row of an answer; a comment's sign makes no difference."""
    known = {passage: name for name, text in _answers(solutions) for passage in _passages(text)}
    found = ((name, next(filter(known.get, _passages(text)), "")) for name, text in texts.items())
    return [f"{name} contains {_IN_A_ROW} lines in a row of {known[passage]}"
            for name, passage in found if passage]  # fmt: skip


def _answers(solutions):
    """Yield (file, text) of the answers that learners do not get."""
    for path in sorted(solutions.glob("*.ipynb")):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            yield path.name, "\n".join(cut("".join(cell["source"]), path.name)[1])
    for path in sorted((solutions / "hidden").glob("*.py")):
        yield path.name, path.read_text("utf-8")


def _passages(text):
    bare = [re.sub(r"\s", "", line).lstrip("#") for line in text.splitlines()]
    lines = [line for line in bare if line and not line.startswith(("import", "from"))]
    groups = (lines[at : at + _IN_A_ROW] for at in range(len(lines) - _IN_A_ROW + 1))
    return [passage for passage in map("\n".join, groups) if len(passage) >= _CHARACTERS]


def compare(files: Mapping[str, set[int]], known: Sequence[Secret]) -> list[str]:
    """Do the same for files whose fingerprints are known.

    Fingerprints that two other files also have are the kit's own style and do not count. A check
    computes expected values, so it is not compared with the answers to its own exercise.
    """
    times = Counter(number for prints in files.values() for number in prints)
    sought = [_Sought(each, times, files) for each in known]
    found = []
    for name, prints in files.items():
        telling = [each for each in sought if each.share_in(name, prints) >= _TELLS]
        if telling:
            found.append(_described(name, prints, telling))
    return found


class _Sought:
    """A secret, with its fingerprints that occur in at most two files."""

    def __init__(self, secret, times, names):
        self.secret = secret
        self.rare = {number for number in secret.prints if times[number] <= 1}
        self.in_two = {number for number in secret.prints if times[number] == 2}
        checks = tuple(f"labs/checks/{n.replace('.', '_')}_" for n in secret.exercises)
        self.own_checks = {name for name in names if name.startswith(checks)}

    def share_in(self, name, prints):
        shared = len(self.rare & prints) + (both := len(self.in_two & prints))
        enough = len(self.rare) + both >= LEAST_PRINTS and name not in self.own_checks
        return shared / (len(self.rare) + both) if enough else 0.0


def _described(name, prints, telling):
    numbers = sorted({number for each in telling for number in each.secret.exercises})
    most = max(telling, key=lambda each: each.share_in(name, prints))
    share = most.share_in(name, prints)
    where = most.secret.where
    return f"{name} answers exercise {', '.join(numbers)}: it contains {share:.0%} of {where}"


def secrets(solutions: Path) -> Iterator[Secret]:
    """Every answer that the instructor has."""
    for path in sorted(solutions.glob("*.ipynb")):
        yield from _in_notebook(path)
    for path in sorted((solutions / "hidden").glob("*.py")):
        number = ".".join(path.stem.split("_")[:2])
        yield from _parts(path, (number,), _listed(path, "RIGHT"))
    for path in sorted((solutions / "strategies").rglob("*.py")):
        numbers = tuple(_listed(path, "EXERCISES"))
        yield Secret(numbers, path.name, set(fingerprints(path.read_text("utf-8"))))
        yield from _parts(path, numbers)


def _in_notebook(path):
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        numbered = _ID.match(cell.get("id", ""))
        _, lines = cut("".join(cell["source"]), path.name)
        if numbered and lines:
            number = ".".join(numbered.groups())
            yield Secret((number,), path.name, set(fingerprints(dedent("\n".join(lines)))))


def _parts(path, numbers, names=None):
    """The functions and classes of a file, or those of these names."""
    source = path.read_text("utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (
            names is None or node.name in names
        ):
            part = ast.get_source_segment(source, node)
            yield Secret(numbers, f"{path.name} ({node.name})", set(fingerprints(part)))


def _listed(path, name) -> list[str]:
    """The texts and names in the list that the file calls `name`."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            inner = list(ast.walk(node.value))
            return [n.id for n in inner if isinstance(n, ast.Name)] + [
                n.value for n in inner if isinstance(n, ast.Constant)
            ]
    return []

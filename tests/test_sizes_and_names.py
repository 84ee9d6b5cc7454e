"""Small files, short functions, names that say something, and an import that costs nothing."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LABLIB = ROOT / "lablib"
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
FORBIDDEN = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"}
HEAVY = ("torch", "tensorflow", "keras", "numpy", "pandas", "matplotlib", "scipy", "IPython")
FRAMEWORKS = {"torch", "tensorflow", "keras"}
# The learner's programs of lab 06, which the kit copies and never imports.
PROJECT = LABLIB / "ops" / "project"
# Paths of one computer: the kit must run on every other computer.
FOREIGN_PATH = re.compile(r"(?<![\w.~-])/(?:tmp|root|home|work|Users|var/tmp)\b")


def complaints(path: Path) -> list[str]:
    """Return what is wrong with one source file, one line each."""
    text = path.read_text()
    tree = ast.parse(text)
    only_on_ranks = path.parent == PROJECT or dotted(path) in on_ranks_only()
    loads = [] if only_on_ranks else eager(tree)
    return [*too_long(text, tree), *bad_names(path, tree), *foreign_paths(text), *loads]


@cache
def on_ranks_only() -> set[str]:
    """Return the dotted names of all modules that import a framework when they are imported.

    A rank loads them inside a function, after the framework.
    """
    loads = {dotted(path): loaded_with(path) for path in (LABLIB / "frameworks").rglob("*.py")}
    found = FRAMEWORKS
    while more := {name for name, loaded in loads.items() if loaded & found} - found:
        found = found | more
    return found - FRAMEWORKS


def dotted(path):
    return ".".join(path.with_suffix("").parts[len(ROOT.parts) :])


def loaded_with(path):
    nodes = outside_functions(ast.parse(path.read_text()))
    return {name for node in nodes for name in imported(node)}


def too_long(text, tree):
    lines = len(text.splitlines())
    if lines >= MOST_LINES_OF_A_FILE:
        yield f"{lines} lines"
    for node in definitions(tree):
        lines = node.end_lineno - node.lineno + 1
        if not isinstance(node, ast.ClassDef) and lines > MOST_LINES_OF_A_FUNCTION:
            yield f"{node.name} has {lines} lines"


def bad_names(path, tree):
    # common(a, b), the intersection of two lists of intervals, is a good name for a function.
    defined = [node.name for node in definitions(tree) if node.name != "common"]
    for name in [path.stem, path.parent.name, *defined]:
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
        if FORBIDDEN & {word.lower() for word in words}:
            yield f"{name} is a name for anything"


def foreign_paths(text):
    return [f"{found} is a folder of one computer" for found in FOREIGN_PATH.findall(text)]


def eager(tree):
    """Yield frameworks imported at the top of the module, which takes seconds for each."""
    for node in outside_functions(tree):
        for name in sorted(imported(node) & (FRAMEWORKS | on_ranks_only())):
            yield f"line {node.lineno} imports {name} with the module"


def imported(node):
    """Return the outermost packages that an import statement loads, and all dotted names in it."""
    if not isinstance(node, (ast.Import, ast.ImportFrom)):
        return set()
    dotted = {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        dotted = {node.module or ""} | {f"{node.module}.{name}" for name in dotted}
    outermost = {name.partition(".")[0] for name in dotted}
    return dotted | (set() if getattr(node, "level", 0) else outermost)


def definitions(tree):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def outside_functions(node):
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            # Imports for annotations only: nothing is imported when the program runs.
            if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
                yield child
                yield from outside_functions(child)


@pytest.mark.parametrize(
    "path", sorted(LABLIB.rglob("*.py")), ids=lambda path: str(path.relative_to(LABLIB))
)
def test_a_source_file_is_small_and_says_what_it_is(path):
    assert complaints(path) == []


@pytest.mark.parametrize(
    "name, source, complaint",
    [
        ("long.py", "x = 1\n" * 400, "400 lines"),
        ("long.py", "def f():\n" + "    x = 1\n" * 60, "f has 61 lines"),
        ("utils.py", "", "utils is a name for anything"),
        ("common.py", "", "common is a name for anything"),
        (
            "a.py",
            "from lablib.frameworks.torch import recorder",
            "line 1 imports lablib.frameworks.torch.recorder",
        ),
        ("a.py", "class RankManager: pass", "RankManager is a name for anything"),
        ("a.py", "def _log_helper(): pass", "_log_helper is a name for anything"),
        ("a.py", "p = '/tmp/lablib.lock'", "/tmp is a folder of one computer"),
        ("a.py", "# see /root/notes", "/root is a folder of one computer"),
        ("a.py", "import torch.distributed as dist", "line 1 imports torch with the module"),
        ("a.py", "try:\n  from keras import ops\nfinally: pass", "line 2 imports keras with"),
    ],
)
def test_that_claim_can_fail(tmp_path, name, source, complaint):
    (tmp_path / name).write_text(source)
    assert [found for found in complaints(tmp_path / name) if found.startswith(complaint)]


@pytest.mark.parametrize(
    "source",
    [
        "from contextlib import contextmanager",
        "def f():\n    import torch",
        "from . import torch",
        "url = 'https://example.org/home'; p = '/dev/shm/x'",
        "if TYPE_CHECKING:\n    import torch",
    ],
)
def test_what_is_allowed_is_not_complained_about(tmp_path, source):
    (tmp_path / "a.py").write_text(source)
    assert complaints(tmp_path / "a.py") == []


def loaded_by(statement: str) -> set[str]:
    """Return the heavy packages that a new Python process has loaded after the statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    output = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, timeout=60)
    return set(json.loads(output)) & set(HEAVY)


@pytest.mark.parametrize("statement", ["import lablib", "import lablib.cli, lablib.computer.facts"])
def test_the_import_of_the_kit_loads_nothing_heavy(statement):
    assert loaded_by(statement) == set()


def test_that_claim_about_imports_can_fail():
    assert loaded_by("import lablib, numpy") == {"numpy"}

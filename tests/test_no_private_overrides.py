"""No class overrides an underscore method of a class in another package of lablib.

An underscore method is a detail of its package. A class of another package that overrides it
depends on when and how it is called. The files are read with ast; nothing is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LABLIB = Path(__file__).resolve().parents[1] / "lablib"


def complaints(package: Path) -> list[str]:
    """Return every override of an underscore method across packages, one line each."""
    classes = {}
    for path in sorted(package.rglob("*.py")):
        names = imported(path, package)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = [full_name(base, path, package, names) for base in node.bases]
                classes[f"{dotted(path, package)}.{node.name}"] = bases, private_methods(node)
    return [
        f"{name} overrides {base}.{method}"
        for name, (_, methods) in sorted(classes.items())
        for base in ancestors(name, classes)
        if package_of(base) != package_of(name)
        for method in sorted(methods & classes[base][1])
    ]


def imported(path, package) -> dict[str, str]:
    """Return {name in the file: dotted name} of everything that the file imports from lablib."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = f"{source(node, path, package)}.{alias.name}"
        elif isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
    return found


def source(node, path, package):
    """Return the dotted name of the module from which this statement imports."""
    if not node.level:
        return node.module
    inside = dotted(path.parent / "x", package).split(".")[: -node.level]
    return ".".join([*inside, *filter(None, [node.module])])


def full_name(base, path, package, names):
    text = ast.unparse(base)
    first, _, rest = text.partition(".")
    if first in names:
        return f"{names[first]}.{rest}".rstrip(".")
    return text if rest else f"{dotted(path, package)}.{text}"


def private_methods(node) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = {each.name for each in node.body if isinstance(each, kinds)}
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def ancestors(name, classes) -> Iterator[str]:
    for base in classes[name][0]:
        if base in classes:
            yield base
            yield from ancestors(base, classes)


def dotted(path, package):
    return ".".join((package.name, *path.relative_to(package).with_suffix("").parts))


def package_of(name):
    """Return a class's package: "lablib.cluster.local" of "lablib.cluster.local.zygote.Zygote"."""
    return name.rpartition(".")[0].rpartition(".")[0]


def test_no_class_overrides_a_private_method_of_another_package():
    assert complaints(LABLIB) == []


BASE = "class Engine:\n  def _start(self): pass\n  def close(self): pass\n"
SOME = "class Box(Engine):\n  def _start(self): pass\n  def close(self): pass\n"


@pytest.mark.parametrize(
    "head, bases, complain",
    [
        ("from lablib.cluster.engine import Engine\n", "Engine", True),
        ("from ..cluster.engine import Engine as Other\n", "Other", True),
        ("from lablib.cluster import engine\n", "engine.Engine", True),
        ("import lablib.cluster.engine\n", "lablib.cluster.engine.Engine", True),
        ("from lablib.box.between import Between\n", "Between", True),
        ("from lablib.box.own import Engine\n", "Engine", False),
        ("", "Engine", False),
    ],
)
def test_that_claim_can_fail(tmp_path, head, bases, complain):
    package = tmp_path / "lablib"
    between = "from lablib.cluster.engine import Engine\nclass Between(Engine): pass\n"
    some = head + SOME.replace("(Engine)", f"({bases})")
    for name, text in [
        ("cluster/engine.py", BASE), ("box/own.py", BASE), ("box/between.py", between),
        ("box/box.py", some),
    ]:  # fmt: skip
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    found = complaints(package)
    expected = "lablib.box.box.Box overrides lablib.cluster.engine.Engine._start"
    assert found == ([expected] if complain else [])

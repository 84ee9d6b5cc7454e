"""The rest of the kit uses `Framework` objects. It neither compares nor lists names of frameworks.

So everything about a framework is in one room.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from alone import printed_by

from lablib import frameworks
from lablib.errors import LabError
from lablib.frameworks.framework import Framework

LABLIB = Path(frameworks.__file__).resolve().parents[1]
ROOMS_OF_FRAMEWORKS = ("frameworks", "strategies")


def complaints(source: str) -> list[str]:
    """Return every place where the name of a framework is more than a default or a request."""
    tree = ast.parse(source)
    allowed = {id(node) for parent in ast.walk(tree) for node in requests(parent)}
    return [
        f"line {node.lineno}: {node.value!r}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and is_name(node.value) and id(node) not in allowed
    ]


def is_name(value):
    packages = {package for framework in frameworks.EVERY for package in framework.packages}
    return isinstance(value, str) and value in {*frameworks.NAMES, *packages}


def requests(node):
    """Return the names in `framework="torch"`, as a default or argument, and in
    `frameworks.get("torch")`.

    A model that exists in one framework names it once: `frameworks = ("torch",)`.
    """
    if isinstance(node, ast.arguments):
        yield from (default for default in [*node.defaults, *node.kw_defaults] if default)
    elif isinstance(node, ast.keyword) and node.arg == "framework":
        yield node.value
    elif isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "framework":
        yield node.value
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in ASKS:
        yield from node.args
    elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "frameworks":
        names = getattr(node.value, "elts", ())
        yield from names if len(names) == 1 else ()


ASKS = ("frameworks.get", "self._within")


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted(LABLIB.rglob("*.py"))
        if path.relative_to(LABLIB).parts[0] not in ROOMS_OF_FRAMEWORKS
        and LABLIB / "ops" / "project" not in path.parents  # the learner's own project
    ],
    ids=lambda path: str(path.relative_to(LABLIB)),
)
def test_no_other_room_compares_or_lists_names_of_frameworks(path):
    assert complaints(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        'if framework == "torch": pass',
        'if "tensorflow" != run.spec.framework: pass',
        'if framework in ("torch", "jax"): pass',
        'threads = 8 if me.framework == "torch" else 128',
        'threads = {"torch": 8}[framework]',
        'cures = {("keras", "Layer"): ""}',
        'threads = dict([("tensorflow", 128)])',
        'threads = table["torch"]',
        'job = table.get("torch")',
        'framework.startswith("torch")',
        'NAMES = ("torch", "tensorflow")',
        'for name in ["torch", "tensorflow"]: pass',
        'TORCH = "torch"',
        'frameworks = ("torch", "tensorflow")',
        'match framework:\n  case "tensorflow": pass',
    ],
)
def test_that_claim_can_fail(source):
    assert complaints(source)


@pytest.mark.parametrize(
    "source",
    [
        'def measure(framework="torch"): pass',
        'def measure(*, framework: str = "torch"): pass',
        'class Case:\n  framework: str = "torch"',
        'Cluster(2, framework="tensorflow")',
        'frameworks.get("torch").packages',
        'class Model:\n  frameworks = ("torch",)',
        "import torch",
        'print("torch is not here")',
    ],
)
def test_a_name_may_be_asked_for(source):
    assert complaints(source) == []


def test_every_framework_answers_the_whole_interface():
    asked = [name for name in vars(Framework) if not name.startswith("_")]
    stated = {*asked, *Framework.__annotations__}
    for framework in frameworks.EVERY:
        assert stated <= set(dir(framework)), framework
        inherited = {name for name in asked if name not in vars(type(framework))}
        assert inherited <= MAY_BE_LEFT_OUT, framework


# Class attributes with a default, and methods that only frameworks with servers, GPUs or dry runs
# need.
MAY_BE_LEFT_OUT = {
    "later_imports", "own_network", "one_port", "senders", "serves", "server",
    "devices", "device", "put", "dry_runs", "explained",
}  # fmt: skip


def test_an_unknown_framework_is_refused_with_the_known_ones():
    with pytest.raises(LabError, match="choose 'torch' or 'tensorflow'"):
        frameworks.get("jax")


def test_asking_for_facts_imports_no_framework():
    assert printed_by("frameworks/asked_without_import.py") == []

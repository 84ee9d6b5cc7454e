"""No decision depends on the wording of an error: wordings change, and learners choose their own.

A decision needs an exception's type, its number, or an attribute such as `ClusterHangs.timed_out`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LABLIB = Path(__file__).resolve().parents[1] / "lablib"
SENTENCES = {"wrong", "saw", "do", "problem", "detail", "reason", "args"}
SEARCHES = {"startswith", "endswith", "find", "index", "partition", "rpartition", "count"}
PATTERNS = {"search", "match", "fullmatch", "findall", "finditer"}


def looked_at(tree: ast.AST) -> Iterator[ast.AST]:
    """Every place where the text of an error is compared, searched or matched with a pattern."""
    errors = {n.name for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler) and n.name}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            texts = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called, method = node.func.value, node.func.attr
            texts = node.args if method in PATTERNS else [called] * (method in SEARCHES)
        else:
            continue
        if any(is_text(text, errors) for text in texts):
            yield node


def is_text(node: ast.AST, errors: set[str]) -> bool:
    """Whether it is the error as text, or one of its sentences; also a part, or in an f-string."""
    if isinstance(node, ast.Subscript):
        return is_text(node.value, errors)
    if isinstance(node, ast.JoinedStr):
        values = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        return any(is_text(value, errors) for value in values)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        named = [n.id for argument in node.args for n in ast.walk(argument) if hasattr(n, "id")]
        return node.func.id in ("str", "repr") and bool(errors & set(named))
    if isinstance(node, ast.Name):  # as in f"{error}"
        return node.id in errors
    return isinstance(node, ast.Attribute) and node.attr in SENTENCES


def shown_once(node: ast.AST) -> bool:
    """`result_shown` tells a problem that several cases share only once."""
    return ast.unparse(node) == "one.seen.problem not in said"


def test_no_decision_depends_on_the_text_of_an_error():
    found = [
        f"{path.name}, line {node.lineno}: {ast.unparse(node)}"
        for path in sorted(LABLIB.rglob("*.py"))
        for node in looked_at(ast.parse(path.read_text()))
        if not shown_once(node)
    ]
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        'if "within" in error.wrong: x',
        'if "taken" in str(error): x',
        'if any(text in f"{error}" for text in TEXTS): x',
        "if seen.problem.startswith(HUNG): x",
        "KEYS.search(error.saw)",
        'if error.args[0] == "taken": x',
        'x = error.saw.rpartition(": ")',
    ],
)
def test_that_claim_can_fail(line):
    assert list(looked_at(ast.parse(f"try:\n    f()\nexcept OSError as error:\n    {line}")))

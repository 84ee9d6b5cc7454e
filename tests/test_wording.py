"""No decision depends on the wording of an error: wordings change, and learners choose their own.

A decision needs an exception's type, its number, or an attribute such as `ClusterHangs.timed_out`.
"""

from __future__ import annotations

import ast
import re
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


ROOT = LABLIB.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Words that nobody says to a colleague at a whiteboard; the right side is what to write.
RIDDLES = {
    r"anew|once more": "again",
    r"for ever": "forever",
    r"besides": "also, in addition to",
    r"(is|are) told(?! apart)": "receives, learns",
    r"held against": "compared with",
    r"mend(s|ed)?": "fix, repair",
    r"who grades": "the instructor, the grader",
    r"cannot travel": "cannot be sent to the ranks",
    r"can ever go on": "can continue",
    r"says of itself": "reports, declares",
    r"leave [a-z_=]+ out\b(?! of)": "omit",
    r"write for example": "write, for example,",
    r"not written as (it|they) must be": "is not valid",
    r"without a word": "without a message",
}
RIDDLE = re.compile(rf"\b({'|'.join(RIDDLES)})\b", re.IGNORECASE)


def riddles(path: Path) -> list[str]:
    """Words of a file that readers would have to decode, each with its line."""
    lines = enumerate(path.read_text().splitlines(), start=1)
    return [
        f"line {number}: {found[0]}" for number, line in lines for found in RIDDLE.finditer(line)
    ]


@pytest.mark.parametrize(
    "path", [*PAGES, *sorted(LABLIB.rglob("*.py"))], ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_file_uses_ordinary_words(path):
    assert riddles(path) == []


def test_that_claim_about_words_can_fail(tmp_path):
    (tmp_path / "a.py").write_text('"It is read anew."\ndo = "leave device out"\n"a word; again"')
    assert riddles(tmp_path / "a.py") == ["line 1: anew", "line 2: leave device out"]

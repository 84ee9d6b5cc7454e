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
    """Yield each place where the text of an error is compared, searched or matched."""
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
    """Return True for an error as text, one of its sentences, or a part of it."""
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
    """Return True for the line in `result_shown` that shows a problem of several cases once."""
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
CHECKS = [path for name in ("labs/checks", "solutions/hidden", "solutions/strategies")
          for path in sorted((ROOT / name).rglob("*.py"))]  # fmt: skip
QUIZZES = sorted((ROOT / "labs" / "checks").glob("*.toml"))
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
    r"whoever": "the rank that, every rank that",
    r"so much,? not more": "at most",
    r"such a one": "name the thing again",
    r"lonely": "lone, single",
    r"the latter|the former": "name the thing again",
}
RIDDLE = re.compile(rf"\b({'|'.join(RIDDLES)})\b", re.IGNORECASE)


def riddles(path: Path) -> list[str]:
    """Return the words of a file that readers would have to decode, each with its line."""
    lines = enumerate(path.read_text().splitlines(), start=1)
    return [
        f"line {number}: {found[0]}" for number, line in lines for found in RIDDLE.finditer(line)
    ]


@pytest.mark.parametrize(
    "path",
    [*PAGES, *QUIZZES, *CHECKS, *sorted(LABLIB.rglob("*.py"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_file_uses_ordinary_words(path):
    assert riddles(path) == []


def test_that_claim_about_words_can_fail(tmp_path):
    (tmp_path / "a.py").write_text('"It is read anew."\ndo = "leave device out"\n"a word; again"')
    assert riddles(tmp_path / "a.py") == ["line 1: anew", "line 2: leave device out"]


# A function's docstring says what the function does: "Return the bytes", not "What it holds".
CLAUSE = re.compile(r"(What|Whether|Who|Whose|Which|Where|When|How|Of|By|Those|That|It|Its)\b")


def unfinished_sentences(source: str) -> list[str]:
    """Return the functions whose docstrings begin with a clause instead of a verb."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return [node.name for node in functions if CLAUSE.match(ast.get_docstring(node) or "")]


def test_a_functions_docstring_begins_with_a_verb():
    folders = (LABLIB, ROOT / "tests", ROOT / "benchmarks")
    files = [*CHECKS, *(path for folder in folders for path in sorted(folder.rglob("*.py")))]
    found = {str(path): unfinished_sentences(path.read_text()) for path in files}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "docstring", ["Whether it is full.", "What a rank holds.", "Of each rank: its bytes."]
)
def test_that_claim_about_docstrings_can_fail(docstring):
    assert unfinished_sentences(f'def held(rank):\n    """{docstring}"""') == ["held"]
    assert unfinished_sentences('def held(rank):\n    """Return its bytes."""') == []

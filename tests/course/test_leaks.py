"""Learners receive no answers: files similar to a solution are refused, even if renamed."""

from __future__ import annotations

import ast
import re

import pytest

from lablib.computer.facts import ROOT
from lablib.course import leaks, package
from lablib.grading.intake.similarity import fingerprints
from lablib.teach import exercise

STRATEGIES = ROOT / "solutions/strategies"
BY_HAND = sorted(path.relative_to(STRATEGIES).as_posix() for path in STRATEGIES.rglob("*.py"))


@pytest.fixture(scope="module")
def handed_out():
    """Return the fingerprints of the files that learners receive, by file."""
    return {path.relative_to(ROOT).as_posix(): set(fingerprints(path.read_text()))
            for path in package.files(ROOT) if path.suffix == ".py"}  # fmt: skip


@pytest.fixture(scope="module")
def answers():
    return list(leaks.secrets(ROOT / "solutions"))


@pytest.fixture
def plant(handed_out, answers):
    """Return a function that checks the package with additional files, {name: source}."""

    def look(planted):
        prints = {name: set(fingerprints(text)) for name, text in planted.items()}
        return leaks.compare(handed_out | prints, answers)

    return look


class Renamed(ast.NodeTransformer):
    """Rename every name of its own, and reorder functions, methods and classes."""

    def __init__(self, tree):
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)
                 and isinstance(n.ctx, ast.Store)}  # fmt: skip
        names |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
        names |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        self.new = {name: f"renamed_{number}" for number, name in enumerate(sorted(names))}
        self.attributes = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)
                           and getattr(n.value, "id", "") == "self"}  # fmt: skip

    def generic_visit(self, node):
        for field in ("id", "arg", "name"):
            if isinstance(old := getattr(node, field, None), str):
                setattr(node, field, self.new.get(old, old))
        if getattr(node, "attr", "") in self.attributes:
            node.attr = f"renamed_{node.attr}"
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef):
            node.body.sort(key=lambda part: isinstance(part, ast.FunctionDef | ast.ClassDef))
            places = [at for at, part in enumerate(node.body) if hasattr(part, "name")]
            parts = [node.body[at] for at in reversed(places)]
            for at, part in zip(places, parts):
                node.body[at] = part
        return node


def renamed(source):
    tree = ast.parse(source)
    text = ast.unparse(Renamed(tree).visit(tree))
    assert "renamed_0" in text
    return text


def test_nothing_that_learners_receive_is_like_a_solution(plant):
    assert plant({}) == []


CHANGES = pytest.mark.parametrize("change", [str, renamed], ids=["as it is", "renamed, reordered"])


@CHANGES
@pytest.mark.parametrize("name", BY_HAND)
def test_a_strategy_by_hand_may_not_come_back(plant, name, change):
    source = (STRATEGIES / name).read_text()
    (found,) = plant({"lablib/planted.py": change(source)})
    assert found.startswith("lablib/planted.py answers exercise ")
    assert set(exercises_of(name)) <= set(re.findall(r"\d\.\d", found))


@CHANGES
def test_nor_may_all_of_them_at_once(plant, change):
    planted = {f"lablib/{name}": change((STRATEGIES / name).read_text()) for name in BY_HAND}
    assert len(plant(planted)) == len(BY_HAND)


@pytest.mark.parametrize("file, name", [
    ("1_3_ring_all_reduce", "ring_even_ranks_send_first"),
    ("3_4_multi_worker_loop", "with_the_loss_of_all_workers"),
    ("4_3_gpipe", "last_one_first"), ("4_5_columns_and_rows", "f_and_g"),
])  # fmt: skip
def test_nor_may_an_answer_among_other_things(plant, file, name):
    module = ast.parse((ROOT / f"solutions/hidden/{file}.py").read_text())
    (source,) = (ast.unparse(part) for part in module.body if getattr(part, "name", "") == name)
    other_things = (ROOT / "lablib/units.py").read_text()
    (found,) = plant({"lablib/planted.py": f"{other_things}\n\n{renamed(source)}"})
    number = file[:3].replace("_", ".")
    assert found.startswith(f"lablib/planted.py answers exercise {number}: ")


IN_WORDS = {
    "a comment": lambda source: re.sub("^", "# ", source, flags=re.MULTILINE),
    "a docstring": lambda source: f'"""For example:\n\n{source}\n"""',
    "a page": lambda source: f"Some words.\n\n```python\n{source}\n```\n",
}


@pytest.mark.parametrize("way", IN_WORDS)
@pytest.mark.parametrize("file, name", [
    ("1_3_ring_all_reduce", "ring_even_ranks_send_first"), ("4_3_gpipe", "last_one_first"),
    ("4_5_columns_and_rows", "f_and_g"),
])  # fmt: skip
def test_nor_may_an_answer_in_words(way, file, name):
    text = (ROOT / f"solutions/hidden/{file}.py").read_text()
    (node,) = (part for part in ast.parse(text).body if getattr(part, "name", "") == name)
    source = "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])
    (found,) = leaks.copied({"lablib/planted.py": IN_WORDS[way](source)}, ROOT / "solutions")
    assert found == f"lablib/planted.py contains 4 lines in a row of {file}.py"


def test_no_file_of_the_kit_has_an_answer_in_words():
    texts = {path.name: path.read_text() for path in package.files(ROOT)
             if path.suffix in (".py", ".md")}  # fmt: skip
    assert leaks.copied(texts, ROOT / "solutions") == []


def test_a_check_may_work_out_what_is_due_for_its_own_exercise_only(plant):
    source = (ROOT / "labs/checks/4_7_smallest_cluster.py").read_text()
    (found,) = plant({"labs/checks/5_7_other.py": source})
    assert found.startswith("labs/checks/5_7_other.py answers exercise 4.7: ")


@pytest.mark.parametrize("name", BY_HAND)
def test_a_strategy_by_hand_names_exercises_that_exist(name):
    assert set(exercises_of(name)) <= {one.number for one in exercise.every()}


def exercises_of(name):
    (found,) = re.findall(r"^EXERCISES = (.*)", (STRATEGIES / name).read_text(), re.M)
    return ast.literal_eval(found)

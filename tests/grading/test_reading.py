"""Any notebook can be read without harm, and an unusable one is reported with a reason."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from lablib.grading.intake import safe_reading
from lablib.grading.intake.answers import FOUND, SYNTAX_ERROR

EXERCISES = [SimpleNamespace(number="3.2", answers=("mean(parts)",)),
             SimpleNamespace(number="3.3", answers=("f(x)", "g(x)"))]  # fmt: skip
GOOD = "def mean(parts):\n    return sum(parts) / len(parts)"


def notebook(*sources, **metadata):
    entries = [{"cell_type": "code", "metadata": {}, "source": source} for source in sources]
    return json.dumps({"cells": entries, "metadata": metadata, "nbformat": 4}).encode()


HARMFUL = {
    "parentheses": "x = " + "(" * 50_000,
    "lists": "x = " + "[" * 90 + "]" * 90,
    "minus signs": "x = " + "-" * 300_000 + "1",
    "a long sum": "x = " + "1+" * 200_000 + "1",
    "attributes": "x = a" + ".b" * 200_000,
    "a number": "x = " + "9" * 500_000,
    "a comprehension": "x = " + "[" * 80 + "1" + " for i in y]" * 80,
    "nested blocks": "\n".join(" " * n + "if 1:" for n in range(95)) + "\n" + " " * 95 + "x = 1",
    "half a character": "x = '\ud800'",
    "a zero": "x = 1\0",
    "f-strings": "x = " + "f'{" * 100 + "1" + "}'" * 100,
    "many definitions": "\n".join(f"x{n} = x{n - 1}" for n in range(1, 10_000)),
    "it runs when it is read": "import os\nos._exit(3)",
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_a_harmful_cell_costs_only_itself(kind):
    found = safe_reading.read(notebook(HARMFUL[kind], GOOD), EXERCISES)
    assert found.problem == "" and found.answers["3.2"][0].status == FOUND
    assert found.fingerprints["3.2"]


@pytest.mark.parametrize("kind", HARMFUL)
def test_a_harmful_answer_costs_only_itself(kind):
    harmful = "def f(x):\n" + "\n".join("    " + line for line in HARMFUL[kind].split("\n"))
    found = safe_reading.read(notebook(harmful, GOOD, "def g(x): return f(x)"), EXERCISES)
    assert found.problem == ""
    assert found.answers["3.2"][0].status == FOUND
    assert found.answers["3.3"][0].status in (FOUND, SYNTAX_ERROR)


def test_a_notebook_of_unreasonable_depth_is_unreadable():
    deep = b'{"cells": [' + b'{"a":' * 50_000 + b"}" * 50_000 + b"]}"
    assert safe_reading.read(deep, EXERCISES).problem == "the JSON in the file is nested too deep"


def test_a_reader_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr(safe_reading, "_SECONDS", 0.01)
    assert safe_reading.read(notebook(GOOD), EXERCISES).problem.startswith(
        "it could not be read within"
    )


@pytest.mark.parametrize(
    "kept, found",
    [
        ({"quizzes": {"3.a": 2, "3.b": 1}}, {"3.a": 2, "3.b": 1}),
        ({"quizzes": {"3.a": True, "x": 1, "3.c": 10**9, "3.b": "1"}}, {}),
        ({"quizzes": [1]}, {}),
        ("x", {}),
    ],
)
def test_what_was_answered_in_quizzes_is_read(kept, found):
    assert safe_reading.read(notebook(GOOD, lablib=kept), EXERCISES).quizzes == found

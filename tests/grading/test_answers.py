"""Answers are found by running the cells, even in changed notebooks; reading runs nothing."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import pytest

from lablib.grading.intake import answers, notebook_file
from lablib.grading.intake.answer_on_rank import PickledObserver
from lablib.grading.intake.answers import FOUND, NOT_ATTEMPTED, NOT_FOUND, OTHER_SHAPE, SYNTAX_ERROR
from lablib.grading.intake.candidates import FoundAnswers
from lablib.grading.intake.notebook_file import Cell, Notebook
from lablib.grading.trial.isolation import Outcome
from lablib.teach.observation import Seen

STARTER = """def mean(parts):
    # Your code here.
    raise NotImplementedError("not attempted yet")"""
ANSWER = """def mean(parts):
    return total(parts) / len(parts)"""
IMPORTS = "import numpy as np\nfrom math import fsum as add"
HELPER = "def total(parts):\n    return add(parts) * SCALE\n\nSCALE = 1.0\nLEFT_OUT = print('boo')"
LAB = [("imports", "import numpy as np"), ("exercise-3-2", STARTER), ("after", "mean([1])")]


def cells(*pairs):
    """(id, source) or (id, source, kind) of each cell."""
    return tuple(
        Cell(number, (*pair, "code")[2], pair[1], pair[0]) for number, pair in enumerate(pairs)
    )


def found(*pairs, due=("mean(parts)",)):
    """Return what reading finds, and what a run of the cells finds first, for each function."""
    reader = answers.AnswerReader(Notebook(cells(*pairs), {}), cells(*LAB))
    finder = FoundAnswers([SimpleNamespace(number="3.2", answers=due)], HERE)
    found = []
    for which, answer in enumerate(reader.answers("3.2", due)):
        candidates = finder.candidates(reader.program, "torch", "3.2", which, answer)
        found.append((answer, candidates[-1], reader.program))
    return found


def run_here(case, function):
    """Run a notebook of the test without ranks, in a process forked from this one."""
    return Outcome(Seen((function(SimpleNamespace(framework=case.framework), None),)))


HERE = SimpleNamespace(try_case=run_here)


def value(one, *arguments):
    answer, candidate, program = one
    assert (answer.status, candidate.status) == (FOUND, FOUND), (answer, candidate)
    observe = PickledObserver(lambda me, f, given: f(*arguments), candidate.function, program)
    return observe(None, {})


def notes(one):
    return (*one[0].notes, *one[1].notes)


GOOD = [("imports", IMPORTS), ("helper", HELPER), ("exercise-3-2", ANSWER)]


def test_an_answer_comes_with_what_it_needs_and_nothing_else(capfd):
    (one,) = found(*GOOD)
    assert value(one, [1, 2, 3]) == 2
    function = pickle.loads(one[1].function)
    assert function.__globals__.keys() & {"total", "LEFT_OUT", "np"} == {"total"}
    assert capfd.readouterr().out == "" and notes(one) == ()


def test_errors_name_the_learners_own_cell_and_line():
    source = "LIMIT = 3\n\n" + ANSWER.replace("return total(parts)", "return missing(parts)")
    with pytest.raises(NameError) as caught:
        value(found(("exercise-3-2", source))[0], [1])
    last = caught.traceback[-1].frame.code.raw.co_filename, caught.traceback[-1].lineno + 1
    assert last == ("cell exercise-3-2", 4)


CHANGED = {
    "the cells reordered": (GOOD[::-1], ""),
    "the cell without its id": ([*GOOD[:2], ("", ANSWER)], "cell is missing"),
    "the cell copied, the copy changed": (
        [*GOOD[:2], ("exercise-3-2", "def mean(parts):\n  return -1"), ("", ANSWER)],
        "found in cell 3",
    ),
    "the starter left, the answer in a new cell": (
        [*GOOD[:2], ("exercise-3-2", STARTER), ("", ANSWER)],
        "found in cell 3",
    ),
    "the answer above a starter that was copied": (
        [*GOOD[:2], ("", ANSWER), ("exercise-3-2", STARTER)],
        "found in cell 2",
    ),
    "the cell made text": ([*GOOD[:2], ("exercise-3-2", ANSWER, "markdown")], "text, not code"),
    "the function renamed": (
        [*GOOD[:2], ("exercise-3-2", ANSWER.replace("def mean", "def average"))],
        "called average, not mean",
    ),
    "a syntax error elsewhere": ([("x", "def f(:"), *GOOD], ""),
    "magics in its cell": (
        [*GOOD[:2], ("exercise-3-2", f"%%time\n%pip install x\n!rm -rf y\n{ANSWER}\nmean?")], ""
    ),
    "another language elsewhere": ([("x", "%%bash\nmean() { rm -rf x; }"), *GOOD], ""),
    "a number of more digits than Python writes": (
        [("x", f"N = 0x{'f' * 9999}; M = 2"), *GOOD[:2],
         ("exercise-3-2", f"{ANSWER}\n\n\nN = 0x{'f' * 9999}; M = 2")], ""
    ),
    "the kit's own parts": (
        [*GOOD[:2], ("exercise-3-2", ANSWER.replace("total(", "__import__('ctypes') and total("))],
        "uses ctypes, which no exercise needs",
    ),
    "a file of the system": (
        [*GOOD[:2], ("exercise-3-2", f"{ANSWER}\n\n\nwith open('/proc/stat') as f:\n    pass")],
        "uses proc, which no exercise needs",
    ),
    "the lab's own later use of the name": (
        [*GOOD, ("after", "mean([1])"), ("imports", "import numpy as np")],
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGED)
def test_an_answer_is_found_in_a_notebook_with(change):
    pairs, note = CHANGED[change]
    (one,) = found(*pairs)
    assert value(one, [1, 2, 3]) == 2
    assert note in " ".join(notes(one))
    assert bool(note) == bool(notes(one))


BAD = {
    "untouched": ([("exercise-3-2", STARTER)], NOT_ATTEMPTED, ""),
    "untouched but for a comment": (
        [("exercise-3-2", STARTER.replace("Your code", "My code"))], NOT_ATTEMPTED, "",
    ),
    "untouched and copied": ([("", STARTER), ("exercise-3-2", STARTER)], NOT_ATTEMPTED, ""),
    "deleted": ([("imports", IMPORTS)], NOT_FOUND, "no cell defines mean"),
    "a syntax error": (
        [("exercise-3-2", "def mean(parts):\n    return 1 +")], SYNTAX_ERROR,
        "line 2 of cell exercise-3-2: invalid syntax",
    ),
    "a syntax error in a new cell": (
        [("", "def mean(parts)\n    return 1")], SYNTAX_ERROR, "line 1 of cell 0: expected ':'",
    ),
    "another shape": (
        [("exercise-3-2", "def mean(a, b):\n    return a")], OTHER_SHAPE,
        "it takes (a, b), but it is called as mean(parts)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_answer_says_why(case):
    pairs, status, reason = BAD[case]
    ((_, candidate, _),) = found(*pairs)
    assert (candidate.status, candidate.reason, candidate.function) == (status, reason, b"")


@pytest.mark.parametrize(
    "source",
    [
        "mean = lambda parts: sum(parts) / len(parts)",
        "class mean:\n    def __new__(cls, parts):\n        return sum(parts) / len(parts)",
        "from statistics import mean",
        "def mean(parts, *more, scale=1, **rest): return sum(parts) / len(parts)",
        "import statistics; mean = statistics.mean; print('unused')",
        "def part(f):\n  return lambda p: f(p) / len(p)\n\n@part\ndef mean(p):\n  return sum(p)",
    ],
)
def test_an_answer_may_be_written_in_many_ways(source):
    assert value(found(("exercise-3-2", source))[0], [1, 2, 3]) == 2


def test_the_second_function_of_an_exercise_has_a_cell_of_its_own():
    one, other = found(("exercise-3-2", "def f(): return 1"),
                       ("exercise-3-2-b", "def g(): return f() + 1"),
                       due=("f()", "g()"))  # fmt: skip
    assert (value(one), value(other)) == (1, 2)


def test_an_answer_travels_as_plain_data():
    ((answer, _, _),) = found(*GOOD)
    assert answers.Answer.of(json.loads(json.dumps(answer.plain()))) == answer


# --- files


def stored(source=ANSWER, **more):
    return {"cell_type": "code", "id": "exercise-3-2", "metadata": {}, "source": source} | more


def notebook(*entries, **more):
    return {"cells": list(entries), "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | more


PLAIN = json.dumps(notebook(stored()))
OLD = {"metadata": {}, "nbformat": 3, "worksheets": [
    {"cells": [{"cell_type": "code", "input": ANSWER, "language": "python"}]}]}  # fmt: skip
NO_ID = stored()
del NO_ID["id"]
READABLE = {
    "as it should be": PLAIN.encode(),
    "format 3": json.dumps(OLD).encode(),
    "4.5 without ids": json.dumps(notebook(NO_ID)).encode(),
    "lines": json.dumps(notebook(stored(ANSWER.splitlines(True)))).encode(),
    "UTF-8 with a mark": PLAIN.encode("utf-8-sig"),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16 without a mark": PLAIN.encode("utf-16-be"),
    "UTF-32": PLAIN.encode("utf-32"),
    "an id in the metadata": json.dumps(
        notebook(NO_ID | {"metadata": {"id": "exercise-3-2"}})
    ).encode(),
    "a broken cell beside it": json.dumps(notebook(7, None, {}, stored())).encode(),
    "an id that is no id": json.dumps(notebook(stored(id="../" * 9 + "<b>"))).encode(),
    "Windows lines": json.dumps(notebook(stored(ANSWER.replace("\n", "\r\n")))).encode(),
}


@pytest.mark.parametrize("kind", READABLE)
def test_notebooks_of_any_make_are_read(kind):
    read = notebook_file.read(READABLE[kind])
    assert [cell.source for cell in read.cells if cell.kind == "code"] == [ANSWER]


UNREADABLE = {
    b"": "the file is empty",
    b" \n": "the file is empty",
    b"PK\x03\x04...": "the file is a zip archive, not a notebook",
    b'{"cells": [': "the file is not valid JSON at line 1: damaged, or not a notebook",
    b'{\n<<<<<<< HEAD\n"cells": []\n>>>>>>> b\n}': "the file contains the marks of a merge "
    "conflict",
    b"[1, 2]": "the file is JSON, but not a notebook",
    b'{"a": 1}': "the file is JSON, but not a notebook: it has no cells",
    b'{"cells": [], "nbformat": 5}': "the notebook has format 5, but only 2, 3 and 4 can be read",
    b'{"worksheets": [{"cells": 5}]}': "the notebook has format 3, but its worksheet has no "
    "list of cells",
    b'{"cells": "\xff"}': "byte 11 is not valid utf-8 text",
    b"[" * 100_000: "the JSON in the file is nested too deep",
    b" " * (notebook_file.MOST_BYTES + 1): "the file is larger than 20 MB",
    json.dumps(
        notebook(stored("#" * 2_000_000))
    ).encode(): "it has more than 1,048,576 characters of code",
}


@pytest.mark.parametrize("data", UNREADABLE, ids=list(UNREADABLE.values()))
def test_what_is_no_notebook_says_why(data):
    with pytest.raises(notebook_file.Unreadable) as caught:
        notebook_file.read(data)
    assert str(caught.value) == UNREADABLE[data]


WRONG = [None, True, 7, -0.5, "text", [], [[]], {}, {"cells": None}, {"a": [None]}]


@pytest.mark.parametrize("wrong", WRONG, ids=json.dumps)
@pytest.mark.parametrize("place", [
    "cells", "worksheets", "worksheet", "cells of a worksheet", "cell", "source", "input",
    "cell_type", "id", "cell's metadata", "metadata",
])  # fmt: skip
def test_what_is_malformed_is_no_cell_or_says_that_it_is_no_notebook(place, wrong):
    cell = {"cell_type": "code", "source": ANSWER, "metadata": {}}
    shape = {
        "cells": notebook() | {"cells": wrong},
        "worksheets": {"worksheets": wrong},
        "worksheet": {"worksheets": [wrong]},
        "cells of a worksheet": {"worksheets": [{"cells": wrong}]},
        "cell": notebook(wrong),
        "source": notebook(cell | {"source": wrong}),
        "input": notebook({"cell_type": "code", "input": wrong}),
        "cell_type": notebook(cell | {"cell_type": wrong}),
        "id": notebook(cell | {"id": wrong}),
        "cell's metadata": notebook(cell | {"metadata": wrong}),
        "metadata": notebook(cell) | {"metadata": wrong},
    }[place]
    try:
        read = notebook_file.read(json.dumps(shape).encode())
    except notebook_file.Unreadable as reason:
        assert "large" not in str(reason) and "deep" not in str(reason)
    else:
        assert all(isinstance(one.source, str) for one in read.cells)


def test_a_malformed_worksheet_costs_no_other_one_its_cells():
    sheets = [{"cells": 5}, None, *OLD["worksheets"]]
    read = notebook_file.read(json.dumps(OLD | {"worksheets": sheets}).encode())
    assert [one.source for one in read.cells] == [ANSWER]

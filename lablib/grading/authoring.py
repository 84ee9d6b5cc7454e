"""`python -m lablib author 5.1`: begin an exercise from one that works.

What it writes is a whole exercise, all of whose checks pass, so that its author changes one thing
at a time and sees at once what broke. CONTRIBUTING.md tells the way.
"""

from __future__ import annotations

import json
import keyword
import re
from pathlib import Path

from lablib.errors import LabError
from lablib.machine import ROOT
from lablib.record.whole import write_whole
from lablib.teach import exercise, release

_PUBLIC = '''"""{number} {title}."""

import numpy as np

from lablib.teach.claims import Claim, equal_by_rank
from lablib.teach.exercise import Case

ANSWERS = ("{name}(x, ranks)",)
TITLE = "{title}"
POINTS = 2

_MEAN = (
    "Print x on every rank before and after. Which number should all of them have?",
    "The mean is the sum over all ranks, divided by how many there are.",
)
_ONCE = ("How many messages does it take? One collective can do it.",)


def cases(seed):
    return [case_of(seed, ranks=2, numbers=6)]


def case_of(seed, ranks, numbers):
    rng = np.random.default_rng(seed)
    own = tuple({{"x": rng.normal(size=numbers).astype(np.float32)}} for _ in range(ranks))
    return Case(f"{{numbers}} numbers on {{ranks}} ranks", own=own, ranks=ranks, relay=True)


def observe(me, answer, given):
    import torch

    x = torch.from_numpy(given.x)
    returned = answer(x, me.ranks)
    return x if returned is None else returned


def judge(case, seen):
    mean = sum(own["x"] for own in case.own) / case.ranks
    yield equal_by_rank("every rank ends with the mean", [mean] * case.ranks, seen.values,
                        hints=_MEAN)  # fmt: skip
    calls = [(name, nbytes) for _, name, nbytes in seen.put_in(0)]
    yield Claim("one collective of all numbers at once, and no other message",
                calls == [("all_reduce", mean.nbytes)], f"all_reduce of {{mean.nbytes}} B",
                str(calls), 0, _ONCE, seen.evidence)  # fmt: skip
'''
_HIDDEN = '''"""{number}, what learners never get: other cases, right answers, wrong ones."""

import torch
import torch.distributed as dist

from lablib.teach.exercise import find

case_of = find("{number}").module.case_of


def cases(seed):
    return [case_of(seed, ranks=3, numbers=5)]


def divides_afterwards(x, ranks):
    dist.all_reduce(x)
    x /= ranks


def divides_first(x, ranks):
    scaled = x / ranks
    dist.all_reduce(scaled)
    return scaled


def forgets_to_divide(x, ranks):
    dist.all_reduce(x)


def one_number_at_a_time(x, ranks):
    for at in range(len(x)):
        dist.all_reduce(x[at])
    x /= ranks


RIGHT = [divides_afterwards, divides_first]
WRONG = {{
    "forgets to divide": forgets_to_divide,
    "a message for each number": one_number_at_a_time,
    "always zero": lambda x, ranks: torch.zeros_like(x),
}}
'''
_ANSWER = '''import torch.distributed as dist


def {name}(x, ranks):
    """The mean of x over all ranks, in place."""
    ### BEGIN SOLUTION
    dist.all_reduce(x)
    x /= ranks
    ### END SOLUTION'''


def begin(number: str, name: str, title: str = "", root: Path = ROOT) -> str:
    """Write the two files of exercise `number`, and its cells at the end of the lab's notebook, a
    new one where there is none; what to do next, in words.

    Raises LabError for a number or a name that cannot be, if the exercise exists, and if there are
    no solutions to add it to.
    """
    named = re.fullmatch(r"[a-z]\w*", name, re.A) and not keyword.iskeyword(name)
    if not (named and re.fullmatch(r"\d{1,2}\.\d{1,2}", number)):
        raise LabError("An exercise has a number and a name, for its files and its function.",
                       saw=f"{number!r}, {name!r}",
                       do="for example: python -m lablib author 5.1 --name top_k")  # fmt: skip
    release.solutions(root)
    checks, hidden = root / "labs" / "checks", root / "solutions" / "hidden"
    known = [one for one in exercise.every(checks, hidden) if one.number == number]
    if known:
        raise LabError("This exercise exists.", saw=str(known[0].path),
                       do="choose another number, or change the files")  # fmt: skip
    file = f"{number.replace('.', '_')}_{name}.py"
    title = title or name.replace("_", " ").capitalize()
    notebook = _add_cells(number, name, title, root)
    for folder, text in ((checks, _PUBLIC), (hidden, _HIDDEN)):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / file, text.format(number=number, name=name, title=title))
    return (
        f"labs/checks/{file}           what is asked, the public cases, the claims\n"
        f"solutions/hidden/{file}      hidden cases, right answers, wrong ones\n"
        f"{notebook}: three cells at its end; move them where they belong. The answer's cell is "
        f"known by its id, exercise-{number.replace('.', '-')}: move it, do not copy it\n\n"
        f'Now: make test ARGS="tests/teach/test_exercises.py -k {number}"   passes; keep it so.\n'
        "Then: python -m lablib release\n"
    )


def _add_cells(number, name, title, root):
    """Write the exercise's cells; the notebook that they are in."""
    lab, own = number.partition(".")[0].zfill(2), number.replace(".", "-")
    there = sorted((root / "solutions").glob(f"{lab}_*.ipynb"))
    path = there[0] if there else root / "solutions" / f"{lab}_{name}.ipynb"
    book = json.loads(path.read_text("utf-8")) if there else _new_notebook(lab, title)
    book["cells"] += [
        _cell(f"exercise-{own}-text", "markdown", f"### Exercise {number} · {title}"),
        _cell(f"exercise-{own}", "code", _ANSWER.format(name=name)),
        _cell(f"check-{own}", "code", f'lab.check("{number}", {name})'),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(book, indent=1, sort_keys=True, ensure_ascii=False)
    write_whole(path, text + "\n")
    return path.relative_to(root)


def _new_notebook(lab, title):
    cells = [_cell("title", "markdown", f"# Lab {lab} · {title}"),
             _cell("imports", "code", "import lablib as lab")]  # fmt: skip
    return {
        "cells": cells,
        "metadata": {"kernelspec": release.KERNEL},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(identity, kind, source):
    cell = {"cell_type": kind, "id": identity, "metadata": {}, "source": source.splitlines(True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})

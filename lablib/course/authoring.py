"""`python -m lablib author 5.1`: start a new exercise from one that works.

It writes a complete exercise that passes all tests. So the author can change one thing at a time
and immediately sees what broke. CONTRIBUTING.md describes the steps.
"""

from __future__ import annotations

import json
import keyword
import re
from pathlib import Path

from lablib.computer.facts import ROOT
from lablib.course import release
from lablib.errors import LabError
from lablib.files import write_completely
from lablib.teach import exercise

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
_HIDDEN = '''"""{number}, hidden from learners: other cases, other right answers, wrong answers."""

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
_CONTRACT = """### Exercise {number} · {title}

Write `{name}`, which runs on every rank.

- `x` is a tensor of shape `[n]`, this rank's own.
- `ranks` is the number of ranks.
- Afterwards `x` holds the mean of all ranks' tensors. Use one collective.

For example, with `x = [1, 2]` on rank 0 and `x = [3, 6]` on rank 1 both ranks end with `[2, 4]`.

<details><summary>Hint 1</summary>Which collective gives every rank the sum?</details>
<details><summary>Hint 2</summary>Divide the sum by the number of ranks.</details>"""
_ANSWER = '''def {name}(x, ranks):
    """The mean of x over all ranks, in place."""
    import torch.distributed as dist

    ### BEGIN SOLUTION
    dist.all_reduce(x)
    x /= ranks
    ### END SOLUTION'''
_AFTERWARDS = "Say here what the learner has seen, and why."
_OPENING = """# Lab {lab} · {title}

**Objectives.** After this lab you can

- say what this lab teaches.

**You need** lab 00.

**It takes** an hour."""
_QUESTION = """## {title}

Two ranks hold 0 and 1. **Predict**: what is the mean of their numbers?"""
_GUESS = """guess = lab.predict("mean of the ranks' numbers")
numbers = lab.Cluster(2).run(lambda me: me.rank).values
guess.reveal(sum(numbers) / len(numbers))"""
_EXPLAIN = """## Explain

Write two to five sentences. Your instructor reads them."""
_JUDGE = "Answer this question for yourself, then compare your answer with ours."
_REAL_WORLD = """## In the real world

On real machines the same program is a file that `torchrun` starts on every node."""
_ENDING = """## Takeaways

- One sentence for each idea of this lab."""
_TERMS = """## Terms

- **mean**: the sum, divided by how many there are.

## Further reading

- [PyTorch: distributed communication](https://docs.pytorch.org/docs/stable/distributed.html), the
  PyTorch authors."""
_QUIZ = """[a]
question = "Two ranks hold 1 and 3. What does rank 0 hold after an all-reduce with the sum?"
[[a.choices]]
text = "4"
right = true
why = "An all-reduce gives the sum to every rank."
[[a.choices]]
text = "1"
why = "It put 1 in. What it gets out is made of both ranks' numbers."
"""
_WRITTEN = """["{lab}.w1"]
title = "One message or many"
reader = "instructor"
question = "Why does one all-reduce of n numbers take less time than n all-reduces of one number?"
points = 2
rubric = [
    {{points = 1, text = "Names the latency that each message costs."}},
    {{points = 1, text = "Says that the number of bytes is the same."}},
]

["{lab}.w2"]
title = "The mean of means"
reader = "yourself"
question = "When is the mean of the ranks' means not the mean of all samples?"
rubric = [{{points = 1, text = "Says that the ranks have different numbers of samples."}}]
answer = "When the ranks have different numbers of samples: a sample of a small share counts more."
"""
_MOST_CHARACTERS = 40  # of a name or a title, so that the lines with it are short enough
_TAKEN = {"lab", "guess", "numbers", "x", "ranks", "dist"}


def begin(number: str, name: str, title: str = "", root: Path = ROOT) -> str:
    """Write the two files of exercise `number` and its cells; return what to do next, in words.

    The cells go into the lab's notebook, before its ending, or into a new notebook. The notebook
    is then a draft: tests of its style ignore what it does not have yet.

    Raises LabError if the number, the name or the title is not valid, if the exercise exists, or if
    there is no folder solutions/.
    """
    title = title or name.replace("_", " ").capitalize()
    if not (re.fullmatch(r"\d{1,2}\.\d{1,2}", number) and _is_name(name)):
        raise LabError("An exercise needs a number, and a name for its files and its function.",
                       saw=f"{number!r}, {name!r}",
                       do="for example: python -m lablib author 5.1 --name top_k")  # fmt: skip
    if len(title) > _MOST_CHARACTERS or not title.isprintable() or set(title) & set('"\\{}'):
        raise LabError("This title is not valid.", saw=repr(title),
                       do=f"use at most {_MOST_CHARACTERS} characters, without quotation marks, "
                       "backslashes and braces")  # fmt: skip
    release.solutions(root)
    checks = root / "labs" / "checks"
    hidden = root / "solutions" / "hidden"
    known = [one for one in exercise.every(checks, hidden) if one.number == number]
    if known:
        raise LabError("This exercise exists already.", saw=str(known[0].path),
                       do="choose another number, or change the files")  # fmt: skip
    file = f"{number.replace('.', '_')}_{name}.py"
    notebook = _add_cells(number, name, title, root)
    for folder, text in ((checks, _PUBLIC), (hidden, _HIDDEN)):
        folder.mkdir(parents=True, exist_ok=True)
        write_completely(folder / file, text.format(number=number, name=name, title=title))
    return (
        f"labs/checks/{file}           the exercise, its public cases and its claims\n"
        f"solutions/hidden/{file}      hidden cases, right answers and wrong answers\n"
        f"{notebook}: four cells. Move them to the right place. The kit finds the answer's cell "
        f"by its id, exercise-{number.replace('.', '-')}, so move it and do not copy it. When the "
        'lab is finished, run all its cells and delete "draft" from its metadata.\n\n'
        f'Now: make test ARGS="tests/teach/test_exercises.py -k {number}"   passes. Run it after '
        "each change.\n"
        f'And:  make test ARGS="tests/test_lab_style.py -k {notebook.stem}"   says what the lab '
        "lacks as soon as it is not a draft.\n"
        "Then: python -m lablib release\n"
    )


def _is_name(name):
    """Return whether a file and a function of a notebook can have this name."""
    free = not keyword.iskeyword(name) and name not in _TAKEN
    return free and len(name) <= _MOST_CHARACTERS and re.fullmatch(r"[a-z]\w*", name, re.A)


def _add_cells(number, name, title, root):
    """Write the exercise's cells and return the path of their notebook."""
    lab = number.partition(".")[0].zfill(2)
    own = number.replace(".", "-")
    there = sorted((root / "solutions").glob(f"{lab}_*.ipynb"))
    path = there[0] if there else root / "solutions" / f"{lab}_{name}.ipynb"
    book = json.loads(path.read_text("utf-8")) if there else _new_notebook(lab, title, root)
    book["metadata"]["lablib"] = {"draft": True}
    at = next((n for n, cell in enumerate(book["cells"]) if _begins_the_end(cell)), None)
    at = len(book["cells"]) if at is None else at
    book["cells"][at:at] = [
        _cell(
            f"exercise-{own}-text",
            "markdown",
            _CONTRACT.format(number=number, title=title, name=name),
        ),
        _cell(f"exercise-{own}", "code", _ANSWER.format(name=name)),
        _cell(f"check-{own}", "code", f'lab.check("{number}", {name})'),
        _cell(f"check-{own}-said", "markdown", _AFTERWARDS),
    ]
    text = json.dumps(book, indent=1, sort_keys=True, ensure_ascii=False)
    write_completely(path, text + "\n")
    return path.relative_to(root)


def _begins_the_end(cell):
    return re.search(r"^#+ (In the real world|Takeaways)", "".join(cell["source"]), re.MULTILINE)


def _new_notebook(lab, title, root):
    _write_questions(lab, root / "labs" / "checks")
    cells = [
        _cell("title", "markdown", _OPENING.format(lab=lab, title=title)),
        _cell("imports", "code", "import lablib as lab"),
        _cell("question", "markdown", _QUESTION.format(title=title)),
        _cell("guess", "code", _GUESS),
        _cell("explain", "markdown", _EXPLAIN),
        _cell("written-1", "code", f'lab.explain("{int(lab)}.w1")'),
        _cell("judge", "markdown", _JUDGE),
        _cell("written-2", "code", f'lab.explain("{int(lab)}.w2")'),
        _cell("real-world", "markdown", _REAL_WORLD),
        _cell("takeaways", "markdown", _ENDING),
        _cell("knowledge-check", "markdown", "## Knowledge check"),
        _cell("quiz", "code", f'lab.quiz("{int(lab)}.a")'),
        _cell("terms", "markdown", _TERMS),
    ]
    metadata = {"kernelspec": release.KERNEL}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _write_questions(lab, checks):
    """Write the lab's quiz and its written questions, unless they exist."""
    texts = {"quizzes": _QUIZ, "written": _WRITTEN.format(lab=int(lab))}
    for kind, text in texts.items():
        path = checks / f"{lab}_{kind}.toml"
        if not path.exists():
            checks.mkdir(parents=True, exist_ok=True)
            write_completely(path, text)


def _cell(identity, kind, source):
    cell = {"cell_type": kind, "id": identity, "metadata": {}, "source": source.splitlines(True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})

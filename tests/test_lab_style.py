"""Every lab follows the rules of `lab_rules`; for each rule there is a lab that breaks it."""

from __future__ import annotations

import copy
from pathlib import Path

import lab_rules
import pytest
from lab_rules import Lab, is_code, source

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = [
    path for name in ("solutions", "labs") for path in sorted((ROOT / name).glob("*.ipynb"))
]
_IN_ALL_OLD_LABS = {
    "contracts are lists",
    "contracts have an example",
    "ending of a lab",
    "formulas are typeset",
    "prompts have a field",
    "results stay locked",
    "written answers",
}
# Rules that an old lab does not follow yet. The list only becomes shorter: if the lab follows a
# rule, the rule must be removed from it, and a new lab is never added.
NOT_YET = {
    "00_start_here": _IN_ALL_OLD_LABS,
    "01_why_distribute": _IN_ALL_OLD_LABS | {"answers are computed", "plots come from views"},
    "03_data_parallelism": _IN_ALL_OLD_LABS | {"number of exercises", "plots come from views"},
    "04_model_parallelism": _IN_ALL_OLD_LABS
    | {"answers are computed", "hints are folded", "number of exercises", "plots come from views"},
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_lab_is_built_as_labs_are(path):
    found = lab_rules.violations(lab_rules.read(path, ROOT / "labs" / "checks"))
    new = {name: messages for name, messages in found.items() if not is_known(path, name)}
    assert new == {}


@pytest.mark.parametrize("name", NOT_YET)
def test_the_list_of_old_labs_names_no_rule_that_the_lab_follows(name):
    """Check the learners' copies, too: the rules in the list are about parts that both have."""
    for folder in ("solutions", "labs"):
        path = ROOT / folder / f"{name}.ipynb"
        found = lab_rules.violations(lab_rules.read(path, ROOT / "labs" / "checks"))
        assert NOT_YET[name] - found.keys() == set()


def test_the_list_of_old_labs_never_grows():
    assert set(NOT_YET) <= {"00_start_here", "01_why_distribute", "03_data_parallelism",
                            "04_model_parallelism"}  # fmt: skip


def is_known(path, name):
    return name in NOT_YET.get(path.stem, ())


# --- a lab that follows every rule, and changes that break each of them


def text(*lines):
    return {"cell_type": "markdown", "metadata": {}, "source": "\n".join(lines)}


def code(source, *outputs, tags=()):
    cell = {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": source}
    return cell | {"outputs": list(outputs)}


FIGURE = {
    "output_type": "display_data",
    "data": {"image/png": "AAAA", "text/html": '<img alt="a line" src="x">'},
}
BARE_FIGURE = {"output_type": "display_data", "data": {"image/png": "AAAA"}}
WIDGET = {"application/vnd.jupyter.widget-view+json": {}}
MEASURED = {"output_type": "stream", "name": "stdout", "text": "measured: 3 ms"}
ERROR = {"output_type": "error", "ename": "RankFailed", "evalue": "", "traceback": []}
CONTRACT = """### Exercise 9.{number} · Mean

- `x` is a list of numbers.
- `mean(x)` returns their mean, $\\sum_i x_i / n$, where $n$ is how many there are.

For example, `mean([1, 3])` returns 2.

<details><summary>Hint 1</summary>Add.</details>
<details><summary>Hint 2</summary>Divide.</details>"""
ASKS = """guess = lab.predict("x")
run = cluster.run(f)
guess.reveal(run.values[0], show=lambda: run)"""
WRITTEN = {"9.w1": "instructor", "9.w2": "yourself"}


def good_lab() -> Lab:
    """Return a lab that follows every rule.

    Its cells: 0 title, 1 objectives, 2 needs; from 3 on 20 pairs of a text and a result, of which
    the first 8 ask for a guess; from 43 on 4 exercises; from 59 on two written questions; the
    ending.
    """
    cells = [text("# Lab 9"), text("## Objectives"), text("**You need** it.\n\n**Time** 1 hour")]
    for number in range(20):
        asks = number < 8
        cells += [
            text(f"## Part {number}", "**Predict.** How many?" if asks else "Look."),
            code(ASKS if asks else "lab.doctor()", *[FIGURE] * (number < 6)),
        ]
    for number in range(1, 5):
        cells += [
            text(CONTRACT.format(number=number)),
            code("def f(): ...") | {"id": f"exercise-9-{number}"},
            text("Check it."),
            code(f'lab.check("9.{number}", f)'),
        ]
    for number in WRITTEN:
        cells += [text("Explain."), code(f'lab.explain("{number}")')]
    cells += [text(f"## {name}") for name in lab_rules.ENDING[:3]]
    cells += [code('lab.quiz("9.a")'), text("## Terms"), text("## Further reading")]
    for number, cell in enumerate(filter(is_code, cells), start=1):
        cell["execution_count"] = number
    return Lab({"cells": cells, "metadata": {}}, dict(WRITTEN))


def test_the_good_lab_follows_every_rule():
    assert lab_rules.violations(good_lab()) == {}


def changed(number, **changes):
    return lambda lab: lab.cells[number].update(changes)


def inserted(number, *new):
    return lambda lab: lab.cells.__setitem__(slice(number, number), copy.deepcopy(new))


def replaced(old, new):
    """Replace a text everywhere in the lab."""

    def spoil(lab):
        for cell in lab.cells:
            cell["source"] = source(cell).replace(old, new)

    return spoil


def asking(*lines):
    """Replace the code of cell 4, which asks, runs and reveals, by these lines."""
    return changed(4, source="\n".join(lines))


PREDICT, RUN, REVEAL = ASKS.splitlines()
BREAKS = [
    ("number of cells", inserted(9, *[text("more")] * 32), "the lab has 101 cells"),
    ("number of cells", lambda lab: lab.cells.__delitem__(slice(19, 43)), "the lab has 45 cells"),
    ("number of guesses", replaced("lab.predict", "lab.ask"), "the lab asks for 0 guesses"),
    ("number of exercises", changed(46, source="pass"), "the lab has 3 core exercises"),
    ("number of exercises", replaced("4 · Mean", "4 · Mean (*stretch*)"),
     "the lab has 3 core exercises"),
    ("number of exercises", replaced("· Mean", "· Mean (*stretch*)"),
     "the lab has 4 stretch exercises"),
    ("written answers", changed(60, source="pass"), "written question 9.w1 is not both"),
    ("written answers", lambda lab: lab.written.pop("9.w2"), "written question 9.w2 is not both"),
    ("written answers", lambda lab: lab.written.update({"9.w2": "instructor"}),
     "the lab has 2 written questions for the instructor and 0 for the learner"),
    ("text cells are short", changed(9, source="word " * 121), "cell 9 has 121 words"),
    ("text cells are short", changed(43, source=CONTRACT.format(number=1) + " word" * 200),
     "cell 43 has 2"),
    ("code cells are short", changed(22, source="x = 1\n" * 31), "cell 22 has 31 lines"),
    ("code cells are short", changed(22, source="x" * 101), "cell 22 has a line of 101"),
    ("median of the code cells", lambda lab: [
        cell.update(source="x = 1\n" * 6) for cell in lab.cells if is_code(cell)
     ], "the median of the code cells is 6 lines"),
    ("as much text as code", inserted(9, *[code("x")] * 8), "the lab has 38 text cells for 39"),
    ("code cells in a row", inserted(23, *[code("x")] * 3), "cell 22 begins more than 3"),
    ("code at the beginning", inserted(3, text("wait"), text("wait")), "no code in the first 5"),
    ("levels of headings", changed(5, source="# Another title"), "the first heading, and no other"),
    ("levels of headings", changed(5, source="#### Deep"), "cell 5: 'Deep' skips a level"),
    ("beginning of a lab", changed(1, source="## Purpose"), "the first 4 cells need"),
    ("beginning of a lab", changed(2, source="**Time** 1 hour"), "the first 4 cells need"),
    ("ending of a lab", changed(-1, source="## References"), "the last 14 cells need"),
    ("ending of a lab", changed(-6, source="## In the lab"), "the last 14 cells need"),
    ("ending of a lab", changed(-1, source="## Takeaways"), "the last 14 cells need"),
    ("stated time", changed(2, source="**You need** it.\n\n**Time** flies."), "the first 4 cells"),
    ("knowledge check", changed(-3, source="pass"), "the lab has no quiz"),
    ("exercise cells", changed(44, id="another"), "exercise 9.1: no cell exercise-9-1"),
    ("exercise cells", changed(43, source="### Exercise"), "exercise 9.1 has no contract"),
    ("contracts are lists", replaced("- `", "`"), "exercise 9.1: its contract is not a list"),
    ("contracts have an example", replaced("For example, ", ""),
     "exercise 9.1 has no worked example"),
    ("hints are folded", replaced("<details><summary>Hint 2</summary>Divide.</details>", ""),
     "exercise 9.1 has fewer than 2 hints"),
    ("hints are folded", changed(9, source="**Hint.** Add them."), "cell 9 shows a hint"),
    ("reveals have a question", asking(RUN, REVEAL), "cell 4 reveals a result before the question"),
    ("reveals have a question", asking(RUN, REVEAL, PREDICT), "cell 4 reveals a result before"),
    ("questions have a reveal", asking(PREDICT, RUN), "cell 4 asks for a guess that nothing"),
    ("questions have a reveal", changed(18, source=PREDICT), "cell 18 asks for a guess that noth"),
    ("questions have a reveal", asking('lab.predict("x")'), "cell 4 asks for a guess that nothing"),
    ("learners make the guesses", asking('guess = lab.predict("x", 3)', RUN, REVEAL),
     "cell 4 answers its own question"),
    ("learners make the guesses", asking('guess = lab.predict("x", guess=3)', RUN, REVEAL),
     "cell 4 answers its own question"),
    ("answers are computed", asking(PREDICT, "guess.reveal(3)"), "cell 4 contains the answer"),
    ("answers are computed", asking(PREDICT, "guess.reveal(lambda: -3)"), "cell 4 contains"),
    ("answers are computed", asking("x = 3", PREDICT, "guess.reveal(x)"), "cell 4 contains"),
    ("results stay locked", asking(PREDICT, RUN, "print(run.values)", REVEAL),
     "cell 4 shows `run` before there is a guess"),
    ("results stay locked", asking(PREDICT, RUN, f"display({REVEAL})", "run.metrics"),
     "cell 4 shows `run` before there is a guess"),
    ("results stay locked", lambda lab: (asking(PREDICT, RUN, "run")(lab),
                                        changed(6, source=REVEAL)(lab)),
     "cell 4 shows `run` before there is a guess"),
    ("results stay locked", asking(RUN, "print(run.values[0])", PREDICT, REVEAL),
     "cell 4 shows `run` before there is a guess"),
    ("prompts have a field", changed(21, source="**Think first.** Why?"), "cell 21 asks to think"),
    ("formulas are typeset", changed(21, source="It takes seconds = alpha + bytes / B."),
     "cell 21 has a formula as plain text: write 'It takes seconds = alpha + bytes / B."),
    ("formulas are typeset", changed(21, source="Here `y = x a + c` holds."), "cell 21 has a form"),
    ("ordinary words", changed(21, source="Run it anew."), "cell 21 has 'anew': write again"),
    ("ordinary words", changed(22, source="# mend it"), "cell 22 has 'mend': write fix"),
    ("images have words", changed(9, source="![](a.svg)"), "cell 9: an image has no text"),
    ("images have words", changed(9, source="<img src='a.svg'>"), "cell 9: an image has no text"),
    ("images have words", changed(4, outputs=[BARE_FIGURE]), "cell 4: an image has no text"),
    ("frameworks run on ranks", changed(22, source="import torch.distributed as dist"),
     "cell 22 imports a framework"),
    ("plots come from views", changed(22, source="import matplotlib"), "cell 22 draws (matpl"),
    ("plots come from views", changed(22, source="table.plot.bar(x)"), "cell 22 draws (.plot"),
    ("number of figures", changed(4, outputs=[FIGURE] * 7), "the lab has 12 figures"),
    ("failures are tagged", changed(20, outputs=[ERROR]), "cell 20: an error and the tag"),
    ("failures are tagged", changed(20, metadata={"tags": ["raises-exception"]}),
     "cell 20: an error and the tag"),
    ("outputs fit every computer",
     changed(20, outputs=[{"output_type": "stream", "name": "stderr", "text": "!"}]),
     "cell 20 wrote to stderr"),
    ("outputs fit every computer",
     changed(20, outputs=[{"output_type": "display_data", "data": WIDGET}]),
     "cell 20 stores a widget"),
    ("outputs fit every computer",
     changed(20, outputs=[{"output_type": "stream", "name": "stdout", "text": "/home/me/x"}]),
     "cell 20 shows /home, a folder of one computer"),
    ("measured results are not typed",
     lambda lab: (changed(20, outputs=[MEASURED])(lab),
                  changed(21, source="It took 4.2 ms a step.")(lab)),
     "cell 21 types a measured result: 4.2 ms"),
    ("run in order", changed(20, execution_count=99), "the notebook was not run from a fresh"),
    ("result at the beginning", changed(4, outputs=[]), "no result in the first 5 cells"),
]  # fmt: skip


@pytest.mark.parametrize("rule, spoil, message", BREAKS)
def test_that_claim_can_fail(rule, spoil, message):
    lab = good_lab()
    spoil(lab)
    found = lab_rules.violations(lab)
    assert [said for said in found.get(rule, ()) if said.startswith(message)]


def test_every_rule_has_a_lab_that_breaks_it():
    rules = lab_rules.ALWAYS | lab_rules.COMPLETE | lab_rules.EXECUTED
    assert {rule for rule, _, _ in BREAKS} == set(rules)


def test_a_message_says_what_to_do():
    for _, spoil, message in BREAKS:
        lab = good_lab()
        spoil(lab)
        said = [one for messages in lab_rules.violations(lab).values() for one in messages]
        assert all(": " in one for one in said if one.startswith(message))


@pytest.mark.parametrize(
    "cell",
    [
        ("cluster", PREDICT, RUN, REVEAL),  # shown before the question, without the result
        (PREDICT, RUN, f"display({REVEAL})", "other"),
        (PREDICT, "ranks = 4", "print(ranks)", "guess.reveal(lambda: cluster.run(f, ranks))"),
        (PREDICT, "def f(me):", "    print(run)", RUN, REVEAL),
        ('guesses = {m: lab.predict(m) for m in "ab"}', RUN, "for m, guess in guesses.items():",
         "    display(guess.reveal(run.values[m]))"),
        ("%matplotlib_like magic", PREDICT, RUN, REVEAL),
    ],
)  # fmt: skip
def test_a_result_that_stays_locked_is_fine(cell):
    lab = good_lab()
    asking(*cell)(lab)
    assert lab_rules.violations(lab) == {}


@pytest.mark.parametrize(
    "fine",
    [
        "The time is $t = \\alpha + n / B$.",
        "Type `total = first + second`, then Shift + Enter.",
        "- Take rank 0 - the first one.\n- PyTorch / TensorFlow",
        "| a | b |\n| --- | --- |\n| 1 | 2 |",
        "```\nseconds = alpha + n / B\n```",
        "Run `lablib run a.py --ranks 4 -- --steps 3`.",
    ],
)
def test_text_without_a_plain_formula_is_fine(fine):
    assert lab_rules.formulas(fine) == []

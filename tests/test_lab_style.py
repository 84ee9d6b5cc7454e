"""How a lab is built, in numbers: sizes of cells, order of headings, questions, figures.

Read from the notebooks as they are stored; nothing runs. `tests/test_notebooks.py` runs them.
"""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import pytest

from lablib.course.release import is_draft

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = [
    path for name in ("solutions", "labs") for path in sorted((ROOT / name).glob("*.ipynb"))
]
CELLS = range(45, 81)
GUESSES = range(6, 11)
EXERCISES = range(4, 9)
HINTS = 2
FIGURES = range(4, 11)
MOST_LINES, MEDIAN_LINES, LINE_WIDTH = 30, 5, 100
MOST_WORDS, MOST_CODE_IN_A_ROW, FIRST_RESULT_WITHIN = 90, 3, 5
BEGINNING = ["Objectives", "You need", "It takes|Time"]
ENDING = ["Takeaways", "Knowledge check", "Terms", "Further reading"]
FOREIGN_PATH = re.compile(r"(?<![\w.~-])/(?:tmp|root|home|work|Users|var/tmp)\b")
CHECKED = re.compile(r'lab\.check\("([\d.]+)"')
# A measured time, rate, share or ratio is another one on the next computer.
TYPED_RESULT = re.compile(
    r"(?<![\w.])\d[\d.,]*\s?(?:ns|us|µs|ms|s|seconds?|samples/s|[kMG]B/s|%|"
    r"times as (?:fast|long|much)|times (?:faster|slower|longer))(?!\w)"
)
FRAMEWORK = re.compile(r"^(?:import|from) (?:torch|tensorflow|keras)\b", re.MULTILINE)


def complaints(notebook: dict) -> list[str]:
    """What is wrong with the text and the code of a lab, a line each. Of a draft, which
    `python -m lablib author` has begun, nothing is counted that may still be missing."""
    cells = notebook["cells"]
    return [
        *([] if is_draft(notebook) else amounts(cells)),
        *sizes(cells),
        *rhythm(cells),
        *headings(cells),
        *parts(cells),
        *exercises(cells),
        *(f"cell {n}: an image has no text alternative" for n in images_without_words(cells)),
        *(f"cell {n} imports a framework into the kernel" for n in framework_in_kernel(cells)),
    ]


def amounts(cells):
    """How much a lab holds."""
    if len(cells) not in CELLS:
        yield f"{len(cells)} cells"
    guesses = sum(source(cell).count("lab.predict(") for cell in cells if is_code(cell))
    if guesses not in GUESSES:
        yield f"asks for {guesses} guesses"
    checked = {number for cell in cells for number in CHECKED.findall(source(cell))}
    lab = int(re.search(r"\d+|$", source(cells[0]))[0] or 0)
    if lab and len(checked) not in EXERCISES:
        yield f"has {len(checked)} exercises"


def sizes(cells):
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "markdown" and words(cell) > MOST_WORDS:
            yield f"cell {number} has {words(cell)} words"
        if is_code(cell):
            if len(lines(cell)) > MOST_LINES:
                yield f"cell {number} has {len(lines(cell))} lines"
            for line in lines(cell):
                if len(line) > LINE_WIDTH:
                    yield f"cell {number} has a line of {len(line)} characters"
    median = statistics.median([len(lines(cell)) for cell in cells if is_code(cell)] or [0])
    if median > MEDIAN_LINES:
        yield f"the median of the code cells is {median:g} lines"


def rhythm(cells):
    """How text and code take turns."""
    kinds = "".join("c" if is_code(cell) else "t" for cell in cells)
    if kinds.count("t") < kinds.count("c"):
        yield f"{kinds.count('t')} text cells for {kinds.count('c')} code cells"
    if "c" * (MOST_CODE_IN_A_ROW + 1) in kinds:
        yield f"more than {MOST_CODE_IN_A_ROW} code cells in a row"
    if "c" not in kinds[:FIRST_RESULT_WITHIN]:
        yield f"no code in the first {FIRST_RESULT_WITHIN} cells"


def exercises(cells):
    """Each has its contract with a heading and hints, its cell, and its check, in this order."""
    at = {cell.get("id"): number for number, cell in enumerate(cells)}
    checked = {n: c for c, cell in enumerate(cells) for n in CHECKED.findall(source(cell))}
    for number, place in checked.items():
        cell_id = f"exercise-{number.replace('.', '-')}"
        if not 0 < at.get(cell_id, -1) < place:
            yield f"exercise {number}: no cell {cell_id} before its check"
            continue
        before = "\n".join(map(source, cells[:place]))
        told = before.rpartition(f"Exercise {number}")[2]
        if told.count("<details>") < HINTS:
            yield f"exercise {number}: fewer than {HINTS} hints under its heading"
    if not any("lab.quiz(" in source(cell) for cell in cells if is_code(cell)):
        yield "has no quiz"


def typed_results(cells):
    """Numbers in a text that tells of the measured result above it: the code should say them."""
    measured = False
    for number, cell in enumerate(cells):
        if is_code(cell):
            told = json.dumps(cell.get("outputs", []))
            measured = "measured" in told and "modelled" not in told
        elif measured:
            first = source(cell).split("\n\n")[0]
            yield from (f"cell {number} types a measured result: {found}"
                        for found in TYPED_RESULT.findall(first))  # fmt: skip


def headings(cells):
    text = "\n".join(source(cell) for cell in cells if not is_code(cell))
    found = re.findall(r"(?m)^(#+) +(.+?)\s*$", text)
    levels = [len(marks) for marks, _ in found]
    if levels[:1] != [1] or levels.count(1) != 1:
        yield "the first heading, and no other, must be of level 1"
    yield from (
        f"{title!r} skips a level of headings"
        for before, now, (_, title) in zip(levels, levels[1:], found[1:], strict=False)
        if now > before + 1
    )


def parts(cells):
    """What a lab begins and ends with, each under a heading or in bold, in this order."""
    begins, ends = ("\n".join(map(source, some)) for some in (cells[:4], cells[-12:]))
    for names, text in ((BEGINNING, begins), (ENDING, ends)):
        places = [re.search(rf"(?m)^(?:#+ |\*\*)(?:{name})", text) for name in names]
        at = [place.start() if place else -1 for place in places]
        if -1 in at or at != sorted(at):
            yield f"needs, in this order, {', '.join(names)}"


def images_without_words(cells):
    for number, cell in enumerate(cells):
        shown = [] if is_code(cell) else [source(cell)]
        for data in bundles(cell):
            if any(kind.startswith("image/") for kind in data):
                shown.append("".join(data.get("text/html", "<img>")))
        tags = [tag for text in shown for tag in re.findall(r"<img[^>]*>", text)]
        bare = [tag for tag in tags if not re.search(r'\balt="[^"]+"', tag)]
        if bare or any("![](" in text for text in shown):
            yield number


def framework_in_kernel(cells):
    return (n for n, cell in enumerate(cells) if is_code(cell) and FRAMEWORK.search(source(cell)))


def complaints_about_outputs(notebook: dict) -> list[str]:
    """What is wrong with the stored outputs of a solution, a line each. A draft has none yet."""
    if is_draft(notebook):
        return []
    cells = [cell for cell in notebook["cells"] if is_code(cell)]
    found, figures = [], 0
    for number, cell in enumerate(notebook["cells"]):
        kinds = [output["output_type"] for output in cell.get("outputs", ())]
        figures += sum(any(k.startswith("image/") for k in data) for data in bundles(cell))
        if ("error" in kinds) != ("raises-exception" in cell["metadata"].get("tags", ())):
            found.append(f"cell {number}: an error and the tag raises-exception go together")
        if any(output.get("name") == "stderr" for output in cell.get("outputs", ())):
            found.append(f"cell {number} wrote to stderr")
        if any("widget" in kind for data in bundles(cell) for kind in data):
            found.append(f"cell {number} stores a widget, which nobody can show")
        told = json.dumps(cell.get("outputs", []))
        found += [f"cell {number} shows {path}, a folder of one computer"
                  for path in FOREIGN_PATH.findall(told)]  # fmt: skip
    found += typed_results(notebook["cells"])
    numbers = [cell["execution_count"] for cell in cells]
    if numbers != list(range(1, len(cells) + 1)):
        found.append("was not run whole, from a fresh kernel")
    first = [bool(cell.get("outputs")) for cell in notebook["cells"][:FIRST_RESULT_WITHIN]]
    if not any(first):
        found.append(f"shows no result in its first {FIRST_RESULT_WITHIN} cells")
    if figures not in FIGURES:
        found.append(f"has {figures} figures")
    return found


def source(cell):
    return "".join(cell["source"])


def lines(cell):
    """Its lines, without the empty ones."""
    return [line for line in source(cell).splitlines() if line.strip()]


def words(cell):
    """How many words a reader reads: no marks, tags and addresses."""
    text = re.sub(r"<[^>]*>|\]\([^)]*\)", " ", source(cell))
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def is_code(cell):
    return cell["cell_type"] == "code"


def bundles(cell):
    return [output["data"] for output in cell.get("outputs", ()) if "data" in output]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_lab_is_built_as_labs_are(path):
    assert complaints(json.loads(path.read_text())) == []


@pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if p.parent.name == "solutions"], ids=lambda path: path.name
)
def test_a_solution_shows_what_it_gave(path):
    assert complaints_about_outputs(json.loads(path.read_text())) == []


# --- a lab that nobody complains about, and what spoils it


def text(*lines):
    return {"cell_type": "markdown", "metadata": {}, "source": "\n".join(lines)}


def code(source, *outputs, tags=()):
    cell = {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": source}
    return cell | {"outputs": list(outputs)}


FIGURE = {
    "output_type": "display_data",
    "data": {"image/png": "AAAA", "text/html": '<img alt="a line" src="x">'},
}
MEASURED = {"output_type": "stream", "name": "stdout", "text": "measured: 3 ms"}
ERROR = {"output_type": "error", "ename": "RankFailed", "evalue": "", "traceback": []}


def good_lab():
    """Cells: 0 title, 1 objectives, 2 needs, then pairs of a question and a figure, of which the
    first 8 ask for a guess; 4 exercises from cell 47 on, a quiz, 4 sections."""
    cells = [text("# Lab 9"), text("## Objectives"), text("**You need** it.", "", "**Time** 1 h")]
    for number in range(22):
        asks = 'lab.predict("x")' if number < 8 else "lab.doctor()"
        cells += [text(f"## Part {number}", "Look."), code(asks, *[FIGURE] * (number < 6))]
    for number in range(1, 5):
        cells += [
            text(f"### Exercise 9.{number}", "<details></details>" * 2),
            code("def f(): ..."),
            text("Check it."),
            code(f'lab.check("9.{number}", f)'),
        ]
        cells[-3]["id"] = f"exercise-9-{number}"
    cells += [text("Choose."), code('lab.quiz("9")')]
    cells += [text(f"## {name}") for name in ENDING]
    numbered = [cell for cell in cells if is_code(cell)]
    for number, cell in enumerate(numbered, start=1):
        cell["execution_count"] = number
    return {"cells": cells, "metadata": {}}


def test_the_good_lab_is_good():
    assert complaints(good_lab()) == complaints_about_outputs(good_lab()) == []


def changed(number, **changes):
    return lambda cells: cells[number].update(changes)


def inserted(number, *new):
    return lambda cells: cells.__setitem__(slice(number, number), new)


@pytest.mark.parametrize(
    "spoil, complaint",
    [
        (inserted(9, *[text("more")] * 12), "81 cells"),
        (changed(9, source="word " * 91), "cell 9 has 91 words"),
        (changed(6, source="x = 1\n" * 31), "cell 6 has 31 lines"),
        (changed(6, source="x" * 101), "cell 6 has a line of 101 characters"),
        (lambda cells: [c.update(source="x\n" * 6) for c in cells if is_code(c)],
         "the median of the code cells is 6 lines"),
        (inserted(7, *[code("x")] * 3), "more than 3 code cells in a row"),
        (inserted(4, text("wait"), text("wait")), "no code in the first 5 cells"),
        (lambda cells: [c.update(source=source(c).replace("lab.predict", "print"))
                        for c in cells], "asks for 0 guesses"),
        (changed(48, id="another"), "exercise 9.1: no cell exercise-9-1"),
        (changed(47, source="### Exercise 9.1"), "exercise 9.1: fewer than 2 hints"),
        (changed(50, source="pass"), "has 3 exercises"),
        (changed(64, source="pass"), "has no quiz"),
        (changed(5, source="# Another title"), "the first heading, and no other"),
        (changed(5, source="#### Deep"), "'Deep' skips a level of headings"),
        (changed(-1, source="## References"), "needs, in this order, Takeaways"),
        (changed(-1, source="## Takeaways"), "needs, in this order, Takeaways"),
        (changed(1, source="## Purpose"), "needs, in this order, Objectives"),
        (changed(2, source="**Time** 1 h"), "needs, in this order, Objectives"),
        (changed(9, source="![](a.svg)"), "cell 9: an image has no text alternative"),
        (changed(9, source="<img src='a.svg'>"), "cell 9: an image has no text alternative"),
        (changed(4, outputs=[{"output_type": "display_data", "data": {"image/png": "AAAA"}}]),
         "cell 4: an image has no text alternative"),
        (changed(6, source="import torch.distributed as dist"), "cell 6 imports a framework"),
    ],
)  # fmt: skip
def test_that_claim_can_fail(spoil, complaint):
    lab = good_lab()
    spoil(lab["cells"])
    assert [found for found in complaints(lab) if found.startswith(complaint)]


@pytest.mark.parametrize(
    "spoil, complaint",
    [
        (changed(20, outputs=[ERROR]), "cell 20: an error and the tag"),
        (changed(20, metadata={"tags": ["raises-exception"]}), "cell 20: an error and the tag"),
        (changed(20, outputs=[{"output_type": "stream", "name": "stderr", "text": "!"}]),
         "cell 20 wrote to stderr"),
        (changed(20, outputs=[{"output_type": "display_data",
                               "data": {"application/vnd.jupyter.widget-view+json": {}}}]),
         "cell 20 stores a widget"),
        (changed(20, outputs=[{"output_type": "stream", "name": "stdout", "text": "/home/me/x"}]),
         "cell 20 shows /home, a folder of one computer"),
        (changed(20, execution_count=99), "was not run whole"),
        (lambda cells: [cells[20].update(outputs=[MEASURED]),
                        cells[21].update(source="It took 4.2 ms a step.")],
         "cell 21 types a measured result: 4.2 ms"),
        (changed(4, outputs=[]), "shows no result in its first 5 cells"),
        (lambda cells: [c.update(outputs=[]) for c in cells[5:] if is_code(c)], "has 1 figures"),
    ],
)  # fmt: skip
def test_that_claim_about_outputs_can_fail(spoil, complaint):
    lab = good_lab()
    spoil(lab["cells"])
    assert [found for found in complaints_about_outputs(lab) if found.startswith(complaint)]

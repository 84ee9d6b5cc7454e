"""How a lab is built: the rules, one function each. A rule yields a message for each violation.

A message says which cell is wrong, what is wrong, and what to do. The rules read a notebook as it
is stored; nothing runs.
"""

from __future__ import annotations

import ast
import json
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import lab_guesses
from test_wording import RIDDLE, RIDDLES

from lablib.course.course_page import stated_time as stated_time_of
from lablib.course.release import is_draft
from lablib.teach import written_questions

CELLS = range(50, 101)
GUESSES = range(6, 11)
CORE, MOST_STRETCH = range(4, 7), 3
FIGURES = range(4, 11)
SELF_MARKED = range(1, 3)
HINTS = 2
MOST_LINES, MEDIAN_LINES, LINE_WIDTH = 30, 5, 100
MOST_WORDS, MOST_WORDS_IN_A_CONTRACT = 120, 200
MOST_CODE_IN_A_ROW, FIRST_RESULT_WITHIN = 3, 5
BEGINNING = ["Objectives", "You need", "It takes|Time"]
ENDING = ["In the real world", "Takeaways", "Knowledge check", "Terms", "Further reading"]

CHECKED = re.compile(r'lab\.check\("([\d.]+)"')
EXPLAINED = re.compile(r'lab\.explain\("([\w.]+)"')
EXERCISE = re.compile(r"(?m)^#+ Exercise ([\d.]+)\b(.*)$")
ITEM = re.compile(r"(?m)^\s*(?:[-*]|\d+\.) +\S")
DETAILS = re.compile(r"(?s)<details>.*?</details>")
# "think first" and its like, in bold or at the beginning of a sentence.
PROMPT = re.compile(r"(?i)\*\*(?:predict|think first|write[^*]* down)|(?<=[.>] )think first")
DURATION = re.compile(r"\b(?:min|hour|h\b)")
PLOTTING = re.compile(r"\b(?:matplotlib|plt|seaborn|plotly|subplots)\b|\.plot\.\w+\(|\bblank\(")
FRAMEWORK = re.compile(r"^(?:import|from) (?:torch|tensorflow|keras)\b", re.MULTILINE)
FOREIGN_PATH = re.compile(r"(?<![\w.~-])/(?:tmp|root|home|work|Users|var/tmp)\b")
# A measured time, rate, share or ratio differs on the next computer.
TYPED_RESULT = re.compile(
    r"(?<![\w.])\d[\d.,]*\s?(?:ns|us|µs|ms|s|seconds?|samples/s|[kMG]B/s|%|"
    r"times as (?:fast|long|much)|times (?:faster|slower|longer))(?!\w)"
)
# Two signs of arithmetic between short operands: "seconds = alpha + bytes / B".
_OPERAND = r"[\w.()\[\]^√]+(?: [\w.()\[\]^√]+){0,2}"
FORMULA = re.compile(rf"{_OPERAND}(?: (?:[=+/*×·<>≤≥≈-]|\^) {_OPERAND}){{2,}}")
TYPESET = re.compile(r"(?s)\$\$.*?\$\$|\$[^$\n]+?\$")
CODE_BLOCK, INLINE_CODE = re.compile(r"(?s)```.*?```"), re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Lab:
    """A notebook, and who reads the answers to its written questions, by number."""

    notebook: dict
    written: dict[str, str] = field(default_factory=dict)

    @property
    def cells(self) -> list[dict]:
        return self.notebook["cells"]

    @property
    def texts(self) -> list[tuple[int, str]]:
        return [(n, source(cell)) for n, cell in enumerate(self.cells) if not is_code(cell)]

    @property
    def codes(self) -> list[tuple[int, str]]:
        return [(n, source(cell)) for n, cell in enumerate(self.cells) if is_code(cell)]


def read(path: Path, checks: Path) -> Lab:
    """Return the lab of a notebook; `checks` is the folder with its written questions."""
    questions = written_questions.every(checks, path.name[:2])
    readers = {number: question.reader for number, question in questions.items()}
    return Lab(json.loads(path.read_text("utf-8")), readers)


def violations(lab: Lab) -> dict[str, list[str]]:
    """Return {name of each rule that the lab does not follow: messages}.

    A draft, which `python -m lablib author` has begun, may lack parts. Outputs are checked only if
    there are some: learners' notebooks have none.
    """
    draft = is_draft(lab.notebook)
    outputs = any(cell.get("execution_count") for cell in lab.cells)
    rules = ALWAYS | ({} if draft else COMPLETE) | ({} if draft or not outputs else EXECUTED)
    found = {name: list(rule(lab)) for name, rule in rules.items()}
    return {name: messages for name, messages in found.items() if messages}


ALWAYS: dict[str, Callable] = {}  # also of a draft
COMPLETE: dict[str, Callable] = {}  # of a lab that is no draft
EXECUTED: dict[str, Callable] = {}  # of a notebook with outputs


def rule(rules):
    def add(check):
        rules[check.__name__.replace("_", " ")] = check
        return check

    return add


# --- how much a lab holds


@rule(COMPLETE)
def number_of_cells(lab):
    if len(lab.cells) not in CELLS:
        yield f"the lab has {len(lab.cells)} cells: give it {_between(CELLS)}"


@rule(COMPLETE)
def number_of_guesses(lab):
    guesses = sum(text.count("lab.predict(") for _, text in lab.codes)
    if guesses not in GUESSES:
        yield f"the lab asks for {guesses} guesses: ask {_between(GUESSES)} times with lab.predict"


@rule(COMPLETE)
def number_of_exercises(lab):
    """Lab 00 introduces exercises, so it needs only one."""
    checked = {number for _, text in lab.codes for number in CHECKED.findall(text)}
    stretch = {number for number, title, _ in contracts(lab) if "stretch" in title} & checked
    core = checked - stretch
    if len(core) not in CORE and not _is_first(lab):
        yield (f"the lab has {len(core)} core exercises: give it {_between(CORE)}, and mark others "
               "with *stretch* in their heading")  # fmt: skip
    if len(stretch) > MOST_STRETCH:
        yield f"the lab has {len(stretch)} stretch exercises: give it at most {MOST_STRETCH}"


@rule(COMPLETE)
def written_answers(lab):
    asked = {number for _, text in lab.codes for number in EXPLAINED.findall(text)}
    for number in sorted(asked ^ lab.written.keys()):
        yield (f"written question {number} is not both in a cell and in NN_written.toml: ask it "
               f'with lab.explain("{number}"), and describe it in the file')  # fmt: skip
    readers = list(lab.written.values())
    if readers.count("instructor") != 1 or readers.count("yourself") not in SELF_MARKED:
        yield (f"the lab has {readers.count('instructor')} written questions for the instructor and"
               f" {readers.count('yourself')} for the learner: write 1 and 1 or 2")  # fmt: skip


def _between(allowed):
    return f"{allowed[0]} to {allowed[-1]}"


def _is_first(lab):
    return re.search(r"\d+|$", source(lab.cells[0]))[0] == "00"


# --- sizes and rhythm


@rule(ALWAYS)
def text_cells_are_short(lab):
    for number, text in lab.texts:
        most = MOST_WORDS_IN_A_CONTRACT if EXERCISE.search(text) else MOST_WORDS
        if words(text) > most:
            yield f"cell {number} has {words(text)} words: shorten or divide it, at most {most}"


@rule(ALWAYS)
def code_cells_are_short(lab):
    for number, text in lab.codes:
        if len(lines(text)) > MOST_LINES:
            yield f"cell {number} has {len(lines(text))} lines: divide it, at most {MOST_LINES}"
        for line in lines(text):
            if len(line) > LINE_WIDTH:
                yield (f"cell {number} has a line of {len(line)} characters: break it, at most "
                       f"{LINE_WIDTH}")  # fmt: skip


@rule(ALWAYS)
def median_of_the_code_cells(lab):
    median = statistics.median([len(lines(text)) for _, text in lab.codes] or [0])
    if median > MEDIAN_LINES:
        yield (f"the median of the code cells is {median:g} lines: move code into the kit until it "
               f"is at most {MEDIAN_LINES}")  # fmt: skip


@rule(ALWAYS)
def as_much_text_as_code(lab):
    if len(lab.texts) < len(lab.codes):
        yield (f"the lab has {len(lab.texts)} text cells for {len(lab.codes)} code cells: say what "
               "was seen after each result")  # fmt: skip


@rule(ALWAYS)
def code_cells_in_a_row(lab):
    kinds = "".join("c" if is_code(cell) else "t" for cell in lab.cells)
    if (at := kinds.find("c" * (MOST_CODE_IN_A_ROW + 1))) >= 0:
        yield (f"cell {at} begins more than {MOST_CODE_IN_A_ROW} code cells in a row: put text "
               "between them")  # fmt: skip


@rule(ALWAYS)
def code_at_the_beginning(lab):
    if not any(number < FIRST_RESULT_WITHIN for number, _ in lab.codes):
        yield f"no code in the first {FIRST_RESULT_WITHIN} cells: shorten the introduction"


# --- headings and parts


@rule(ALWAYS)
def levels_of_headings(lab):
    found = [(n, *h) for n, text in lab.texts for h in re.findall(r"(?m)^(#+) +(.+?)\s*$", text)]
    levels = [len(marks) for _, marks, _ in found]
    if levels[:1] != [1] or levels.count(1) != 1:
        yield "the first heading, and no other, must be of level 1: use ## and ### for the others"
    for before, now, (number, _, title) in zip(levels, levels[1:], found[1:]):
        if now > before + 1:
            yield (f"cell {number}: {title!r} skips a level of headings: use {'#' * (before + 1)}")


@rule(ALWAYS)
def beginning_of_a_lab(lab):
    yield from _in_order(BEGINNING, lab.cells[:4], "the first 4 cells need")


@rule(ALWAYS)
def ending_of_a_lab(lab):
    yield from _in_order(ENDING, lab.cells[-14:], "the last 14 cells need")


def _in_order(names, cells, need):
    text = "\n".join(map(source, cells))
    places = [re.search(rf"(?m)^(?:#+ |\*\*)(?:{name})", text) for name in names]
    at = [place.start() if place else -1 for place in places]
    if -1 in at or at != sorted(at):
        yield f"{need}, in this order, as headings or in bold: {', '.join(names)}"


@rule(ALWAYS)
def stated_time(lab):
    if not DURATION.search(stated_time_of(lab.notebook)):
        yield "the first 4 cells state no time: write, for example, **It takes** about 2 hours"


@rule(ALWAYS)
def knowledge_check(lab):
    if not any("lab.quiz(" in text for _, text in lab.codes):
        yield 'the lab has no quiz: ask its questions with lab.quiz("N.a")'


# --- exercises


def contracts(lab) -> Iterator[tuple[str, str, str]]:
    """Yield the number, the title and the text of each exercise, up to the cell for the answer."""
    for at, text in lab.texts:
        for found in EXERCISE.finditer(text):
            rest = [text[found.start() :]]
            rest += [
                source(c) for c in lab.cells[at + 1 : _answer(lab, found[1])] if not is_code(c)
            ]
            yield found[1], found[2].lower(), "\n".join(rest)


def _answer(lab, number):
    """Return the place of the cell for the answer; 0 if there is none."""
    cell_id = f"exercise-{number.replace('.', '-')}"
    return next((n for n, cell in enumerate(lab.cells) if cell.get("id") == cell_id), 0)


@rule(ALWAYS)
def exercise_cells(lab):
    checked = {number: n for n, text in lab.codes for number in CHECKED.findall(text)}
    described = {number for number, _, _ in contracts(lab)}
    for number, place in checked.items():
        if not 0 < _answer(lab, number) < place:
            yield (f"exercise {number}: no cell exercise-{number.replace('.', '-')} before its "
                   f"check in cell {place}: move the cell that `author` wrote")  # fmt: skip
        if number not in described:
            yield f"exercise {number} has no contract: write it under ### Exercise {number} · Title"


@rule(ALWAYS)
def contracts_are_lists(lab):
    for number, _, text in contracts(lab):
        if len(ITEM.findall(DETAILS.sub("", text))) < 2:
            yield (f"exercise {number}: its contract is not a list: write its arguments (type, "
                   "shape), its result and its rules as items")  # fmt: skip


@rule(ALWAYS)
def contracts_have_an_example(lab):
    for number, _, text in contracts(lab):
        if not re.search(r"\bexample\b", DETAILS.sub("", text), re.IGNORECASE):
            yield (f"exercise {number} has no worked example: write, for example, "
                   '"For example, f([1, 3]) returns 2."')  # fmt: skip


@rule(ALWAYS)
def hints_are_folded(lab):
    for number, _, text in contracts(lab):
        if text.count("<details>") < HINTS:
            yield f"exercise {number} has fewer than {HINTS} hints: write them in <details>"
    for number, text in lab.texts:
        if re.search(r"(?m)^\W*Hints?\b", DETAILS.sub("", text)):
            yield f"cell {number} shows a hint to everybody: put it in <details>"


# --- predictions and prompts


def _of_guesses(check, rules=ALWAYS):
    def checked(lab):
        yield from dict.fromkeys(check(lab.cells))

    checked.__name__ = check.__name__
    rule(rules)(checked)


_of_guesses(lab_guesses.reveals_have_a_question)
_of_guesses(lab_guesses.questions_have_a_reveal)
_of_guesses(lab_guesses.learners_make_the_guesses)
_of_guesses(lab_guesses.answers_are_computed)
_of_guesses(lab_guesses.results_stay_locked)


@rule(ALWAYS)
def prompts_have_a_field(lab):
    for number, text in lab.texts:
        following = next((code for n, code in lab.codes if n > number), "")
        if PROMPT.search(text) and not re.search(r"lab\.(predict|explain)\(", following):
            yield (f"cell {number} asks to think first, and the next code cell has no field: ask "
                   "with lab.predict or lab.explain")  # fmt: skip


# --- text


@rule(ALWAYS)
def formulas_are_typeset(lab):
    for number, text in lab.texts:
        for formula in formulas(text):
            yield f"cell {number} has a formula as plain text: write {formula!r} in LaTeX, $...$"


def formulas(text: str) -> list[str]:
    """Return formulas that are not typeset. Code is a formula only if it is not Python."""
    text = TYPESET.sub("T", CODE_BLOCK.sub("", text))
    code = [c for c in INLINE_CODE.findall(text) if FORMULA.search(c) and not _is_python(c)]
    plain = re.sub(r"<[^>]*>|\]\([^)]*\)", " ", INLINE_CODE.sub("C", text))
    return code + [m[0] for line in plain.splitlines() for m in FORMULA.finditer(line)]


def _is_python(text):
    try:
        return bool(ast.parse(text))
    except SyntaxError:
        return False


@rule(ALWAYS)
def ordinary_words(lab):
    instead = {re.compile(pattern, re.IGNORECASE): say for pattern, say in RIDDLES.items()}
    for number, cell in enumerate(lab.cells):
        for found in RIDDLE.finditer(source(cell)):
            say = next(say for pattern, say in instead.items() if pattern.match(found[0]))
            yield f"cell {number} has {found[0]!r}: write {say}"


@rule(ALWAYS)
def images_have_words(lab):
    for number, cell in enumerate(lab.cells):
        shown = [] if is_code(cell) else [source(cell)]
        for data in bundles(cell):
            if any(kind.startswith("image/") for kind in data):
                shown.append("".join(data.get("text/html", "<img>")))
        tags = [tag for text in shown for tag in re.findall(r"<img[^>]*>", text)]
        bare = [tag for tag in tags if not re.search(r'\balt="[^"]+"', tag)]
        if bare or any("![](" in text for text in shown):
            yield f"cell {number}: an image has no text alternative: describe what it shows"


# --- code


@rule(ALWAYS)
def frameworks_run_on_ranks(lab):
    for number, text in lab.codes:
        if FRAMEWORK.search(text):
            yield (f"cell {number} imports a framework into the kernel: import it inside the "
                   "function that runs on the ranks")  # fmt: skip


@rule(ALWAYS)
def plots_come_from_views(lab):
    for number, text in lab.codes:
        for found in PLOTTING.findall(text):
            yield (f"cell {number} draws ({found}): write a function in lablib/views and call it")


# --- what the cells gave


@rule(EXECUTED)
def number_of_figures(lab):
    figures = sum(
        any(kind.startswith("image/") for kind in data)
        for cell in lab.cells for data in bundles(cell)
    )  # fmt: skip
    if figures not in FIGURES:
        yield f"the lab has {figures} figures: give it {_between(FIGURES)}"


@rule(EXECUTED)
def failures_are_tagged(lab):
    for number, cell in enumerate(lab.cells):
        kinds = [output["output_type"] for output in cell.get("outputs", ())]
        if ("error" in kinds) != ("raises-exception" in cell["metadata"].get("tags", ())):
            yield (f"cell {number}: an error and the tag raises-exception go together: add the tag "
                   "or remove it")  # fmt: skip


@rule(EXECUTED)
def outputs_fit_every_computer(lab):
    for number, cell in enumerate(lab.cells):
        told = json.dumps(cell.get("outputs", []))
        for path in FOREIGN_PATH.findall(told):
            yield f"cell {number} shows {path}, a folder of one computer: use a relative path"
        if any(output.get("name") == "stderr" for output in cell.get("outputs", ())):
            yield f"cell {number} wrote to stderr: find out why"
        if any("widget" in kind for data in bundles(cell) for kind in data):
            yield f"cell {number} stores a widget, which nobody can show: run the whole notebook"


@rule(EXECUTED)
def measured_results_are_not_typed(lab):
    """Yield typed numbers below a measured result: they differ on the next computer."""
    measured = False
    for number, cell in enumerate(lab.cells):
        if is_code(cell):
            told = json.dumps(cell.get("outputs", []))
            measured = "measured" in told and "modelled" not in told
        elif measured:
            for found in TYPED_RESULT.findall(source(cell).split("\n\n")[0]):
                yield f"cell {number} types a measured result: {found}: let the code print it"


@rule(EXECUTED)
def run_in_order(lab):
    numbers = [cell.get("execution_count") for cell in lab.cells if is_code(cell)]
    if numbers != list(range(1, len(numbers) + 1)):
        yield "the notebook was not run from a fresh kernel: restart it, then run all cells"


@rule(EXECUTED)
def result_at_the_beginning(lab):
    if not any(cell.get("outputs") for cell in lab.cells[:FIRST_RESULT_WITHIN]):
        yield f"no result in the first {FIRST_RESULT_WITHIN} cells: show one earlier"


# --- cells


def source(cell):
    return "".join(cell["source"])


def lines(text):
    """Return the lines of a text, without empty ones."""
    return [line for line in text.splitlines() if line.strip()]


def words(text):
    """Return the number of words that a reader reads, without marks, tags and addresses."""
    text = re.sub(r"<[^>]*>|\]\([^)]*\)", " ", text)
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def is_code(cell):
    return cell["cell_type"] == "code"


def bundles(cell):
    return [output["data"] for output in cell.get("outputs", ()) if "data" in output]

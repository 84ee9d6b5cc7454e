"""Make the learners' labs/NN_*.ipynb from the instructor's solutions/NN_*.ipynb.

The code between `### BEGIN SOLUTION` and `### END SOLUTION` is removed. Outputs, execution counts
and metadata that vary from run to run are cleared. Equal solutions give equal bytes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from lablib.computer.facts import ROOT
from lablib.course import spoilers
from lablib.errors import NOT_ATTEMPTED, LabError
from lablib.files import write_completely
from lablib.teach import written_questions

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
_NAMES = "[0-9][0-9]_*.ipynb"
# It also finds misspelt markers, because an unnoticed one would give away the solution.
_LIKE_A_MARKER = re.compile(r"\s*#+\s*(begin|end)[ _-]*solution", re.IGNORECASE)
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def release(root: Path = ROOT, *, remove: bool = False) -> list[str]:
    """Write labs/ again; return the names of the notebooks that changed or were removed.

    remove   remove the notebooks of labs/ that have no solution; without it they are an error

    Raises LabError, before anything is written, if there are no solutions, if a notebook of labs/
    has none, or if a marker is misspelt, nested or alone.
    """
    made, there = _made(root), _found(root / "labs")
    without_solution = sorted(there.keys() - made.keys())
    if without_solution and not remove:
        raise LabError(
            "Some notebooks in labs/ have no solution, so nothing was written.",
            saw=", ".join(f"labs/{name}" for name in without_solution),
            do="restore their solutions. To remove these notebooks from labs/, type: "
            "python -m lablib release --remove",
        )
    changed = _differing(made, there)
    for name in made.keys() & changed:
        write_completely(root / "labs" / name, made[name])
    for name in without_solution:  # last, so that a failure to write costs no notebook
        (root / "labs" / name).unlink()
    return changed


def solutions(root: Path = ROOT) -> dict[str, str]:
    """Return the text of every solution by its name.

    Raises LabError if there are none: then this is the package that learners get.
    """
    found = _found(root / "solutions")
    if not found:
        raise LabError(
            "This command works from the solutions, and there are none here.",
            saw=f"no notebook in {root / 'solutions'}",
            do="use the instructor's copy of the kit; the package for learners has no solutions",
        )
    return found


def complaints(root: Path = ROOT) -> list[str]:
    """Return what is wrong with labs/, one line for each problem: out of date, or with a solution.

    Each line of a solution is searched in all texts of every lab: sources, outputs, metadata,
    attachments. So is each line of solutions/hidden, unless learners may read it anyway. Imports
    and lines of fewer than 4 words do not count, because anybody may write them. The checks share
    single lines with answers by chance, so there two lines in a row are searched. Written questions
    must not have a model answer if the instructor grades them.
    """
    made, there = _made(root), _found(root / "labs")
    found = _about_written(root)
    stale = "is out of date: python -m lablib release"
    extra = "has no solution: python -m lablib release --remove"
    found += [f"labs/{n} {stale if n in made else extra}" for n in _differing(made, there)]
    in_labs, in_checks = _secrets(root, made.values())
    for path in spoilers.handed_out(root / "labs"):
        secrets = in_checks if path.suffix == ".py" else in_labs
        for line, of in spoilers.find(secrets, path):
            found.append(f"{path.relative_to(root)} contains a line of {of}: {line}")
    return found


def _about_written(root):
    try:
        written_questions.every(root / "labs/checks")
    except LabError as error:
        return [f"labs/checks/{error.saw}"]
    return []


def _secrets(root, made):
    """Return the secret lines for labs and for checks, each with the name of its source."""
    cut_out = [line for text in _found(root / "solutions").values() for line in _cut_out(text)]
    hidden = spoilers.source_of_hidden(root)
    in_labs = dict.fromkeys(spoilers.hidden_lines(root, hidden, made), "solutions/hidden")
    in_checks = dict.fromkeys(spoilers.passages(hidden), "solutions/hidden")
    of_solutions = (spoilers.lines(cut_out), spoilers.passages(cut_out))
    return tuple(
        secrets | dict.fromkeys(found, "a solution")
        for secrets, found in zip((in_labs, in_checks), of_solutions)
    )


def lab_of(notebook: dict, name: str) -> dict:
    """Make the learner's notebook from the instructor's; `name` is for errors."""
    cells = []
    for number, cell in enumerate(notebook["cells"]):
        source, _ = cut("".join(cell["source"]), f"solutions/{name}, cell {number}")
        kept = {key: cell[key] for key in ("attachments", "cell_type", "id") if key in cell}
        kept["metadata"] = {k: value for k, value in cell["metadata"].items() if k == "tags"}
        kept["source"] = source.splitlines(keepends=True)
        if cell["cell_type"] == "code":
            kept |= {"execution_count": None, "outputs": []}
        cells.append(kept)
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    if is_draft(notebook):
        metadata["lablib"] = {"draft": True}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def is_draft(notebook: dict) -> bool:
    """Return whether the author has marked this lab as unfinished."""
    return bool(notebook["metadata"].get("lablib", {}).get("draft"))


def cut(source: str, where: str) -> tuple[str, list[str]]:
    """Return the learner's version of a cell, and the removed lines; `where` is for errors.

    In a block, such as a function, the solution is replaced by an error; elsewhere by a comment.

    >>> cut("x = 1\\n### BEGIN SOLUTION\\ny = 2\\n### END SOLUTION", "cell 0")
    ('x = 1\\n# Your code here.', ['y = 2'])
    """
    kept = []
    lines = []
    begun = 0
    for number, line in enumerate(source.split("\n"), start=1):
        if not _LIKE_A_MARKER.match(line):
            (lines if begun else kept).append(line)
            continue
        due = END if begun else BEGIN
        if line.strip() != due:
            raise _misplaced(f"{where}, line {number}: {line.strip()}", due)
        if not begun:
            indent = line.partition("#")[0]
            kept.append(f"{indent}# Your code here.")
            if indent:
                kept.append(f'{indent}raise NotImplementedError("{NOT_ATTEMPTED}")')
        begun = 0 if begun else number
    if begun:
        raise _misplaced(f"{where}, line {begun}: {BEGIN}, and nothing that ends it", END)
    return "\n".join(kept), lines


def _misplaced(saw, due):
    do = f"write {due} here, on its own line; markers come in pairs and cannot be nested"
    return LabError("The markers of a solution are wrong.", saw=saw, do=do)


def _made(root) -> dict[str, str]:
    made = {}
    for name, text in solutions(root).items():
        try:
            lab = lab_of(json.loads(text), name)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unreadable(f"solutions/{name}", error) from None
        made[name] = json.dumps(lab, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return made


def _found(folder) -> dict[str, str]:
    found = {}
    for path in sorted(folder.glob(_NAMES)):
        try:
            found[path.name] = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(f"{folder.name}/{path.name}", error) from None
    return found


def _unreadable(name, error):
    return LabError(
        "This file is not a notebook, so nothing was written.",
        saw=f"{name}: {type(error).__name__}: {error}",
        do="restore it, for example with git, or move it to another folder",
    )


def _differing(made, there):
    return sorted(n for n in made.keys() | there.keys() if made.get(n) != there.get(n))


def _cut_out(notebook) -> list[str]:
    """Return the lines that learners do not get."""
    cells = json.loads(notebook)["cells"]
    return [line for cell in cells for line in cut("".join(cell["source"]), "")[1]]

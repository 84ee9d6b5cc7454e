"""Makes the learners' labs/NN_*.ipynb from the instructor's solutions/NN_*.ipynb.

What stands between `### BEGIN SOLUTION` and `### END SOLUTION` is cut out; outputs, execution
counts and metadata that vary from run to run are cleared. Equal solutions give equal bytes.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

from lablib.errors import LabError
from lablib.machine import ROOT
from lablib.record.whole import write_whole

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
NOT_ATTEMPTED = "not attempted yet"
_NAMES = "[0-9][0-9]_*.ipynb"
# A misspelt marker too: unseen, it would hand out the solution.
_LIKE_A_MARKER = re.compile(r"\s*#+\s*(begin|end)[ _-]*solution", re.IGNORECASE)
_TELLING_WORDS = 4
_KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def release(root: Path = ROOT) -> list[str]:
    """Write labs/ anew; the names of the notebooks that changed, or went with their solution.

    Raises LabError, before anything is written, for a misspelt, nested or lonely marker.
    """
    made, there = _made(root), _found(root / "labs")
    changed = _differing(made, there)
    for name in changed:
        if name in made:
            write_whole(root / "labs" / name, made[name])
        else:
            (root / "labs" / name).unlink()
    return changed


def complaints(root: Path = ROOT) -> list[str]:
    """What is wrong with labs/ as it stands, a line each: stale, or telling a solution.

    A solution's line is looked for in every text of every lab: sources, outputs, metadata,
    attachments. Imports and lines of fewer than 4 words, which anybody may write, do not count.
    """
    made, there = _made(root), _found(root / "labs")
    found = [f"labs/{name} is stale: python -m lablib release" for name in _differing(made, there)]
    secrets = [line for text in _found(root / "solutions").values() for line in _telling(text)]
    for name, text in there.items():
        told = [_bare(piece) for piece in _texts(json.loads(text))]
        found += [
            f"labs/{name} tells a line of a solution: {line}"
            for line in dict.fromkeys(secrets)
            if any(_bare(line) in piece for piece in told)
        ]
    return found


def lab_of(notebook: dict, name: str) -> dict:
    """The learner's notebook of an instructor's one; `name` is for errors."""
    cells = []
    for number, cell in enumerate(notebook["cells"]):
        source, _ = cut("".join(cell["source"]), f"solutions/{name}, cell {number}")
        kept = {key: cell[key] for key in ("attachments", "cell_type", "id") if key in cell}
        kept["metadata"] = {k: value for k, value in cell["metadata"].items() if k == "tags"}
        kept["source"] = source.splitlines(keepends=True)
        if cell["cell_type"] == "code":
            kept |= {"execution_count": None, "outputs": []}
        cells.append(kept)
    metadata = {"kernelspec": _KERNEL, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def cut(source: str, where: str) -> tuple[str, list[str]]:
    """What the learner gets of a cell, and the lines that were cut out; `where` is for errors.

    Within a block, such as a function, a region leaves an error that says so; elsewhere a comment.

    >>> cut("x = 1\\n### BEGIN SOLUTION\\ny = 2\\n### END SOLUTION", "cell 0")
    ('x = 1\\n# Your code here.', ['y = 2'])
    """
    kept, lines, begun = [], [], 0
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
    do = f"write {due} here, on a line of its own; markers come in pairs, never one in another"
    return LabError("A solution is not marked as it must be.", saw=saw, do=do)


def _made(root) -> dict[str, str]:
    made = {}
    for name, text in _found(root / "solutions").items():
        lab = lab_of(json.loads(text), name)
        made[name] = json.dumps(lab, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return made


def _found(folder) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in sorted(folder.glob(_NAMES))}


def _differing(made, there):
    return sorted(n for n in made.keys() | there.keys() if made.get(n) != there.get(n))


def _telling(notebook) -> Iterator[str]:
    """The lines cut out of a notebook that say something."""
    for cell in json.loads(notebook)["cells"]:
        for line in cut("".join(cell["source"]), "")[1]:
            words = re.findall(r"\w+", line)
            if len(words) >= _TELLING_WORDS and words[0] not in ("import", "from"):
                yield line.strip()


def _texts(part, attached: bool = False) -> Iterator[str]:
    """Every string in a notebook; lists of lines joined, attachments decoded."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield key
            yield from _texts(value, attached or key == "attachments")
    elif isinstance(part, list):
        yield "".join(piece for piece in part if isinstance(piece, str))
        for piece in part:
            yield from _texts(piece, attached)
    elif isinstance(part, str):
        yield base64.b64decode(part).decode("latin-1") if attached else part


def _bare(text):
    return re.sub(r"\s", "", text)

"""Find lines in the learners' files that give away an answer or a hidden case."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

_WORDS = 4
_WORDS_OF_TWO = 10


def lines(source: Iterable[str]) -> list[str]:
    """Return the significant lines, without imports and short lines that anybody may write."""
    found = {}
    for line in source:
        words = re.findall(r"\w+", line)
        if len(words) >= _WORDS and words[0] not in ("import", "from"):
            found[line.strip()] = None
    return list(found)


def passages(source: Iterable[str]) -> list[str]:
    """Return pairs of lines in a row that nobody writes by chance, without imports."""
    stripped = [line.strip() for line in source if line.strip()]
    own = [line for line in stripped if not line.startswith(("import ", "from "))]
    pairs = ["  ".join(pair) for pair in pairwise(own)]
    return [pair for pair in pairs if len(re.findall(r"\w+", pair)) >= _WORDS_OF_TWO]


def source_of_hidden(root: Path) -> list[str]:
    """Return all lines of solutions/hidden."""
    paths = sorted((root / "solutions/hidden").glob("*.py"))
    return [line for path in paths for line in path.read_text("utf-8").splitlines()]


def hidden_lines(root: Path, hidden: Iterable[str], released: Iterable[str]) -> list[str]:
    """Return the significant ones of these lines, without those that learners may read anyway.

    Learners may read the public half of an exercise, the library, and the text of a released lab.
    """
    programs = [*(root / "labs/checks").rglob("*.py"), *(root / "lablib").rglob("*.py")]
    public = [path.read_text("utf-8") for path in programs]
    for lab in released:
        public += ["".join(cell["source"]) for cell in json.loads(lab)["cells"]]
    known = _bare("\n".join(public))
    return [line for line in lines(hidden) if _bare(line) not in known]


def handed_out(labs: Path) -> list[Path]:
    """Return all files in labs/, of any kind."""
    return sorted(path for path in labs.rglob("*") if path.is_file() and path.suffix != ".pyc")


def find(secrets: Mapping[str, str], path: Path) -> Iterator[tuple[str, str]]:
    """Yield (line, where it comes from) for each secret line that the file contains."""
    text = path.read_bytes().decode("utf-8", "replace")
    pieces = list(_texts(json.loads(text))) if path.suffix == ".ipynb" else [text]
    bare = [_bare(piece) for piece in pieces]
    for line, of in secrets.items():
        if any(_bare(line) in piece for piece in bare):
            yield line, of


def _texts(part, attached: bool = False) -> Iterator[str]:
    """Yield every string in a notebook; lists of lines joined, attachments decoded."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield key
            yield from _texts(value, attached or key == "attachments")
    elif isinstance(part, list):
        yield "".join(piece for piece in part if isinstance(piece, str))
        for piece in part:
            yield from _texts(piece, attached)
    elif isinstance(part, str):
        yield part
        if attached:
            # It is not encoded, so it was searched as it is.
            with contextlib.suppress(binascii.Error, ValueError):
                yield base64.b64decode(part).decode("latin-1")


def _bare(text):
    return re.sub(r"\s", "", text)

"""Read the cells of a notebook that a learner handed in, or say why it cannot be read.

Nothing in the file is trusted: it may be written by hand, by another program, or to do harm.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass

from lablib.errors import is_whole

MOST_BYTES = 20 * 2**20
MOST_CODE_CHARACTERS = 2**20
MOST_CELLS = 5000
_MOST_RUNS = 100_000
_BYTE_ORDER_MARKS = [
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like that of UTF-16, so it is asked first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]
_CONFLICT = re.compile(r"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KINDS_OF_FILE = {
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip archive",
    b"\x89PNG": "a picture",
    b"7z\xbc\xaf": "a 7-zip archive",
    b"Rar!": "a rar archive",
}


class Unreadable(Exception):
    """These bytes are not a notebook; the text tells the learner why."""


@dataclass(frozen=True)
class Cell:
    """One cell. `number` counts from 0; `id` is "" if it has none that can be shown.

    count   the number in brackets beside the cell, such as 3 for `In [3]`; 0 if it was not run
    """

    number: int
    kind: str
    source: str
    id: str = ""
    count: int = 0

    @property
    def label(self) -> str:
        """Return a name that learners understand, such as "exercise-3-2" or "12"."""
        return self.id or str(self.number)


@dataclass(frozen=True)
class Notebook:
    cells: tuple[Cell, ...]
    metadata: dict


def read(data: bytes) -> Notebook:
    """Read the notebook in `data`: format 4, 3 or 2, in any Unicode encoding. Raises Unreadable."""
    if len(data) > MOST_BYTES:
        raise Unreadable(f"the file is larger than {MOST_BYTES // 2**20} MB")
    if not data.strip(b"\0 \t\r\n"):
        raise Unreadable("the file is empty")
    for beginning, kind in _KINDS_OF_FILE.items():
        if data.startswith(beginning):
            raise Unreadable(f"the file is {kind}, not a notebook")
    return _notebook(_parsed(decoded(data)))


def decoded(data):
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "")
    if not encoding:
        # JSON begins with an ASCII character, so the positions of zeros show the encoding.
        first = bytes(bool(byte) for byte in data[:2])
        encoding = {b"\1\0": "utf-16-le", b"\0\1": "utf-16-be"}.get(first, "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(f"byte {error.start} is not valid {error.encoding} text") from None


def _parsed(text):
    try:
        return json.loads(text)
    except ValueError as error:
        if _CONFLICT.search(text):
            raise Unreadable("the file contains the marks of a merge conflict") from None
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Unreadable(f"the file is not valid JSON{where}: damaged, or not a notebook") from None
    except RecursionError:
        raise Unreadable("the JSON in the file is nested too deep") from None


def _notebook(parsed):
    if not isinstance(parsed, dict):
        raise Unreadable("the file is JSON, but not a notebook")
    entries = parsed.get("cells")
    if entries is None and isinstance(parsed.get("worksheets"), list):
        entries = _in_worksheets(parsed["worksheets"])
    if not isinstance(entries, list):
        raise Unreadable("the file is JSON, but not a notebook: it has no cells")
    version = parsed.get("nbformat", 4)
    if version not in (2, 3, 4):
        raise Unreadable(
            f"the notebook has format {repr(version)[:20]}, but only 2, 3 and 4 can be read"
        )
    if len(entries) > MOST_CELLS:
        raise Unreadable(f"it has {len(entries)} cells, more than {MOST_CELLS}")
    cells = tuple(_cell(number, entry) for number, entry in enumerate(entries))
    if sum(len(cell.source) for cell in cells if cell.kind == "code") > MOST_CODE_CHARACTERS:
        raise Unreadable(f"it has more than {MOST_CODE_CHARACTERS:,} characters of code")
    metadata = parsed.get("metadata")
    return Notebook(cells, metadata if isinstance(metadata, dict) else {})


def _in_worksheets(worksheets):
    """Return the cells of format 3; ignore malformed worksheets."""
    sheets = [sheet for sheet in worksheets if isinstance(sheet, dict)]
    found = [sheet["cells"] for sheet in sheets if isinstance(sheet.get("cells"), list)]
    if worksheets and not found:
        raise Unreadable("the notebook has format 3, but its worksheet has no list of cells")
    return [cell for cells in found for cell in cells]


def _cell(number, entry):
    """Read a cell; a malformed cell counts as empty, so that the other cells can be read."""
    if not isinstance(entry, dict):
        return Cell(number, "raw", "")
    source = entry.get("source", entry.get("input", ""))  # "input" in format 3
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    if not isinstance(source, str):
        source = ""
    # JSON can contain half a surrogate pair, which Python can neither compile nor write.
    source = source.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n")
    kind = "code" if entry.get("cell_type") == "code" else "markdown"
    known = entry.get("id") or _id_in(entry.get("metadata"))
    safe = isinstance(known, str) and _SAFE_ID.fullmatch(known)
    count = entry.get("execution_count", entry.get("prompt_number"))  # second: format 3
    ran = is_whole(count) and 0 < count <= _MOST_RUNS
    return Cell(number, kind, source, known if safe else "", count if ran else 0)


def _id_in(metadata):
    """Return the id that VS Code and Colab store in the metadata of older formats."""
    return metadata.get("id") if isinstance(metadata, dict) else None

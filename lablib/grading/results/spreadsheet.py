"""CSV that is safe to open in a spreadsheet, because no cell is read as a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

# A semicolon may part cells in some countries, and a tab does in LibreOffice. A line's end begins a
# row when quotes are not where a reader expects them. Wide characters count as their plain ones in
# some countries, too.
_STARTS = r"(^|[;\t\n\r])"
_FORMULA = r"(?=[\s'\"]*[=+\-@|%＝＋－＠])"


def neutral(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would read as a formula.

    >>> neutral("=cmd|' /C calc'!A0"), neutral("jane"), neutral("a;=1")
    ("'=cmd|' /C calc'!A0", 'jane', "a;'=1")
    """
    return re.sub(_STARTS + _FORMULA, r"\1'", text)


def plain(text: str) -> str:
    """Undo `neutral`: return exactly the text that it was given.

    >>> plain("'=1"), plain("'tis"), plain(neutral("'=1"))
    ('=1', "'tis", "'=1")
    """
    return re.sub(f"{_STARTS}'{_FORMULA}", r"\1", text)


def csv_text(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Write a table as CSV in which every cell is neutral."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([neutral(str(cell)) for cell in line] for line in lines)
    return out.getvalue()

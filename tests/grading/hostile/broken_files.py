"""Submissions whose file or notebook is broken or unusual, or that are not files.

FILES   {name: (content or a function that makes it, status of the row, points of 9.1 and 9.2)}
"""

from __future__ import annotations

import io
import json
import os
import zipfile

import course

GRADED = "graded"
_PLAIN = json.dumps(course.notebook())
_BASH = course.cell("%%bash\nrm -rf BASE; touch CANARY_FILE")
_EXITS = course.cell("import os\nos._exit(1)")


def _archive():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("x.ipynb", _PLAIN)
    return data.getvalue()


def _large(path):
    path = path.with_suffix(".ipynb")
    path.write_bytes(b"{")
    os.truncate(path, 200 << 20)


def _link(path):
    path.with_suffix(".ipynb").symlink_to("/etc/passwd")


def _fifo(path):
    os.mkfifo(path.with_suffix(".ipynb"))


def _nested(path):
    (path / "a" / "b").mkdir(parents=True)
    (path / "a" / "b" / "lab 09 (final).ipynb").write_text(_PLAIN)
    (path / "other.ipynb").write_text("{}")


_OLD = {"metadata": {}, "nbformat": 3, "worksheets": [{"cells": [
    {"cell_type": "code", "input": "".join(cell["source"])} for cell in course.notebook()["cells"]
]}]}  # fmt: skip
_REVERSED = course.of(*course.notebook()["cells"][::-1])
_STRIPPED = course.of(*({"cell_type": "code", "source": cell["source"]}
                        for cell in course.notebook()["cells"]))  # fmt: skip
_DELETED = course.of(*course.notebook()["cells"][::2])
_TWICE = course.notebook(
    "def mean_of_all(x, rank, ranks):\n    return x", course.DOUBLE, course.cell(course.MEAN)
)
_HARD_CODED = course.notebook(double="def double(x):\n    return {2: 4, 3: 6}.get(x, 0)")
_SYNTAX = course.notebook(mean="def mean_of_all(x, rank, ranks):\n    return x +")
_ASKS = course.cell("%pip install x\n!touch CANARY_FILE\ninput()")
_ODD_CELLS = course.notebook(course.MEAN, course.DOUBLE, _BASH, _EXITS, _ASKS)
_KERNEL = course.notebook() | {"metadata": {"kernelspec": {"name": "no-such", "language": "R"}}}
_SCORES = course.notebook() | {"metadata": {"nbgrader": {"score": 100}, "lablib": {"points": 9}}}

FILES = {
    "perfect": (course.notebook(), GRADED, 4, 2),
    "copy": (course.notebook(), GRADED, 4, 2),
    "late": (course.notebook(), GRADED, 4, 2),
    "starter": (course.starter(), GRADED, 0, 0),
    "hard coded": (_HARD_CODED, GRADED, 4, 1),
    "syntax error": (_SYNTAX, GRADED, 0, 2),
    "corrupt": (b'{"cells": [', "unreadable", 0, 0),
    "empty": (b"", "unreadable", 0, 0),
    "conflict": (b"{\n<<<<<<< HEAD\n}\n=======\n>>>>>>> x\n", "unreadable", 0, 0),
    "zip": (_archive(), "unreadable", 0, 0),
    "deep": (b"[" * 10**6, "unreadable", 0, 0),
    "large": (_large, "unreadable", 0, 0),
    "link": (_link, "refused", 0, 0),
    "fifo": (_fifo, "refused", 0, 0),
    "no notebook": (lambda path: path.mkdir(), "missing", 0, 0),
    "nested": (_nested, GRADED, 4, 2),
    "format 3": (_OLD, GRADED, 4, 2),
    "a worksheet without cells": (b'{"worksheets": [{"cells": 5}]}', "unreadable", 0, 0),
    "UTF-16": (_PLAIN.encode("utf-16"), GRADED, 4, 2),
    "reversed": (_REVERSED, GRADED, 4, 2),
    "stripped": (_STRIPPED, GRADED, 4, 2),
    "deleted": (_DELETED, GRADED, 0, 2),
    "defined twice": (_TWICE, GRADED, 4, 2),
    "odd cells": (_ODD_CELLS, GRADED, 4, 2),
    "no such kernel": (_KERNEL, GRADED, 4, 2),
    "claims a score": (_SCORES, GRADED, 4, 2),
    "=HYPERLINK(1)": (course.notebook(), GRADED, 4, 2),
    "-rf 'x' \"y\" é\nz": (course.notebook(), GRADED, 4, 2),
}

"""Which lines of code are the learner's own, and how such a line is named to the learner."""

from __future__ import annotations

import os
import re
import sys

_KIT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_STRATEGIES = os.path.join(_KIT, "strategies")
_NOT_THE_LEARNERS = (
    os.path.dirname(os.__file__),  # the standard library, and site-packages below it
    os.path.join(sys.prefix, "lib"),
    os.path.join(sys.base_prefix, "lib"),
    "<frozen",
    "<eval_with_key>",  # torch.compile writes functions under this name
)
_STACK_LINE = re.compile(r'^  File "(.+)", line (\d+) in ')
_LONGEST_PATH = 200  # more than a file's own name, which is all that the learner is shown
_cells: dict[str, str] = {}
_learners: dict[str, bool] = {}


def is_learners(filename: str) -> bool:
    """Whether a line of this file is the learner's own. Strategies count: they are lab text."""
    known = _learners.get(filename)
    if known is None:
        kit = filename.startswith(_KIT) and not filename.startswith(_STRATEGIES)
        # A package's own .pyx is named without a folder; the other is what inductor writes.
        compiled = filename.endswith(".pyx") or f"{os.sep}torchinductor_" in filename
        known = not (kit or compiled or filename.startswith(_NOT_THE_LEARNERS))
        _learners[filename] = known
    return known


def learners_line() -> str:
    """ "file:line" of the innermost frame that is the learner's own, "" when there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        if is_learners(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename[-_LONGEST_PATH:]}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def place(where: str) -> str:
    """What the learner calls "file:line": the cell's number, or the file's name.

    >>> place("train.py:5")
    'train.py, line 5'
    """
    filename, _, line = where.rpartition(":")
    name = cell_name(filename) or filename.rpartition("/")[2]
    return f"{name}, line {line}"


def cell_name(filename: str) -> str:
    """ "cell 3" for the file name of a notebook's cell; "" for other files."""
    if filename in _cells:
        return _cells[filename]
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    compiler = getattr(shell, "compile", None)
    cell = compiler and compiler.format_code_name(filename)
    return f"{cell[0].lower()} {cell[1].removeprefix('In')}" if cell else ""


def know_cells(names: dict[str, str]) -> None:
    """On a rank, which has no notebook: the kernel's names of its cells, by file name."""
    _cells.update(names)


def stack_line(stack: str) -> str:
    """ "file:line" of the innermost learner's frame in what faulthandler wrote."""
    for text in stack.splitlines():
        found = _STACK_LINE.match(text)
        if found and is_learners(found[1]):
            return f"{found[1]}:{found[2]}"
    return ""

"""Find the lines of code that are the learner's own, and name them for the learner."""

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
_LONGEST_PATH = 200  # longer than a file's own name, which is all that the learner sees
_cells: dict[str, str] = {}
_learners: dict[str, bool] = {}


def is_learners(filename: str) -> bool:
    """Return True if this file is the learner's own. Strategies count, because labs show them."""
    known = _learners.get(filename)
    if known is None:
        kit = filename.startswith(_KIT) and not filename.startswith(_STRATEGIES)
        # A package's own .pyx file has a name without a folder. The other kind is written by
        # inductor.
        compiled = filename.endswith(".pyx") or f"{os.sep}torchinductor_" in filename
        known = not (kit or compiled or filename.startswith(_NOT_THE_LEARNERS))
        _learners[filename] = known
    return known


def is_strategy(filename: str) -> bool:
    """Return True if this file has a strategy of the kit."""
    return filename.startswith(_STRATEGIES)


def learners_line() -> str:
    """Return "file:line" of the learner's innermost frame, or "" if there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        if is_learners(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename[-_LONGEST_PATH:]}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def place(where: str) -> str:
    """Return "file:line" as the learner knows it: with the number of the cell, or the file's name.

    >>> place("train.py:5")
    'train.py, line 5'
    """
    filename, _, line = where.rpartition(":")
    name = cell_name(filename) or filename.rpartition("/")[2]
    return f"{name}, line {line}"


def cell_name(filename: str) -> str:
    """Return, for example, "cell 3" for the file name of a notebook's cell; "" for other files."""
    if filename in _cells:
        return _cells[filename]
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    compiler = getattr(shell, "compile", None)
    cell = compiler and compiler.format_code_name(filename)
    return f"{cell[0].lower()} {cell[1].removeprefix('In')}" if cell else ""


def know_cells(names: dict[str, str]) -> None:
    """Store the kernel's names of its cells by file name; a rank has no notebook of its own."""
    _cells.update(names)


def stack_line(stack: str) -> str:
    """Return "file:line" of the learner's innermost frame in faulthandler's output."""
    for text in stack.splitlines():
        found = _STACK_LINE.match(text)
        if found and is_learners(found[1]):
            return f"{found[1]}:{found[2]}"
    return ""

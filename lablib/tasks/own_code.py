"""Call the user's function, and report its errors with the line of the user's code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lablib import frameworks
from lablib.errors import LabError

_KIT = str(Path(__file__).parents[1]) + os.sep


def attempt(what: str, do: str, function: Callable, *arguments: Any, given: str = "") -> Any:
    """Return `function(*arguments)`; if it raises, raise LabError, caused by that error.

    what    the function's name in a sentence, such as "The loss"
    given   the function's arguments, in words

    >>> attempt("The loss", "correct it", int, "one")
    Traceback (most recent call last):
    lablib.errors.LabError: The loss raised ValueError.
      saw: invalid literal for int() with base 10: 'one'
      do:  correct it
    """
    try:
        return function(*arguments)
    except Exception as error:
        saw = "\n".join(filter(None, [str(error), _own_line(error), given]))
        raise LabError(f"{what} raised {type(error).__name__}.", saw=saw, do=do) from error


def check_travels(task: Any) -> None:
    """Raise LabError if the user's objects cannot be sent to another process."""
    import cloudpickle

    attempt(
        "The loss or another function of the task cannot be sent to the ranks, because pickling it",
        "open files, locks and connections inside the function, not outside",
        lambda: cloudpickle.dumps(task),
    )


def _own_line(error):
    """Return the innermost line that is not in the kit, torch or cloudpickle."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_runners())]
    if not own:
        return ""
    file = Path(own[-1].filename)
    # A notebook's cell is not in a file.
    return f"{file.name if file.exists() else 'cell'}, line {own[-1].lineno}: {own[-1].line}"


def _runners():
    names = (*frameworks.get("torch").packages, "cloudpickle")
    loaded = [sys.modules[name] for name in names if name in sys.modules]
    return _KIT, *(str(Path(module.__file__).parent) + os.sep for module in loaded)

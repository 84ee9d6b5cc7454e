"""Call the user's function, and report its errors with the user's own line."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lablib.errors import LabError

_KIT = str(Path(__file__).parents[1]) + os.sep


def attempt(what: str, do: str, function: Callable, *arguments: Any, given: str = "") -> Any:
    """What `function(*arguments)` returns. When it raises: LabError, caused by that error.

    what    names the function in a sentence: "The loss"
    given   what it was given, in words

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
    """Raise LabError when what the user gave cannot be sent to another process."""
    import cloudpickle

    attempt(
        "The loss or a function given cannot travel to the ranks: pickling it",
        "make files, locks and connections inside the function, not outside it",
        lambda: cloudpickle.dumps(task),
    )


def _own_line(error):
    """The innermost line that is neither the kit's nor of what runs the user's code for it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_runners())]
    if not own:
        return ""
    file = Path(own[-1].filename)
    # A notebook's cell is in no file.
    return f"{file.name if file.exists() else 'cell'}, line {own[-1].lineno}: {own[-1].line}"


def _runners():
    loaded = [sys.modules[name] for name in ("torch", "cloudpickle") if name in sys.modules]
    return _KIT, *(str(Path(module.__file__).parent) + os.sep for module in loaded)

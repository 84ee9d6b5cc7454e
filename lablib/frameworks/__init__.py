"""The frameworks: one `Framework` object for everything that differs between torch and TensorFlow.

Importing this package imports neither framework, and no process ever imports both.
"""

from __future__ import annotations

from lablib.errors import LabError
from lablib.frameworks.framework import Framework
from lablib.frameworks.tensorflow import TENSORFLOW
from lablib.frameworks.torch import TORCH

EVERY: tuple[Framework, ...] = (TORCH, TENSORFLOW)
NAMES = tuple(framework.name for framework in EVERY)
DEFAULT = NAMES[0]


def get(name: str) -> Framework:
    """Return the framework of that name. Raises LabError if there is none.

    >>> get("torch").packages
    ('torch',)
    """
    for framework in EVERY:
        if framework.name == name:
            return framework
    raise LabError(
        "There is no such framework.",
        saw=f"framework={name!r}",
        do=f"choose {' or '.join(map(repr, NAMES))}",
    )

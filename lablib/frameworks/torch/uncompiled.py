"""Keep `torch.compile` out of the recorder's own functions.

While compiled code runs, torch.compile also tries to compile every Python function that this code
calls. This includes functions that torch's C++ code calls, such as the methods of a process group.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from lablib.frameworks.torch.compat import SKIP, FrameExecStrategy, set_code_exec_strategy

# Compile neither the function itself nor the functions that it calls.
_SKIP = FrameExecStrategy(SKIP, SKIP)


def uncompiled(function: Callable) -> Callable:
    """Mark the function so that torch.compile runs it as it is; returns the same function.

    Unlike `torch.compiler.disable`, this adds no call and does not import the compiler, which
    takes seconds.
    """
    set_code_exec_strategy(function.__code__, _SKIP)
    return function


def run_as_written(compile: Callable) -> Callable:
    """Replace torch.compile on a rank whose operations are counted: its functions run uncompiled.

    A compiled function hides its operations in fused ones, which cannot be counted.
    """

    @functools.wraps(compile)
    def call(*args, **options):
        torch.compiler.set_stance("force_eager")
        return compile(*args, **options)

    return call

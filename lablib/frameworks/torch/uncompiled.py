"""Keeps `torch.compile` out of the recorder's own functions.

While compiled code runs, torch.compile also tries to compile every Python function that this code
calls, even those that torch's C++ calls in its turn, such as the methods of a process group.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from lablib.frameworks.torch.compat import SKIP, FrameExecStrategy, set_code_exec_strategy

# Neither the function itself nor what it calls.
_SKIP = FrameExecStrategy(SKIP, SKIP)


def uncompiled(function: Callable) -> Callable:
    """Mark the function so that torch.compile runs it as it is; returns the same function.

    Unlike `torch.compiler.disable`, this adds no call and does not import the compiler, which
    takes seconds.
    """
    set_code_exec_strategy(function.__code__, _SKIP)
    return function


def run_as_written(compile: Callable) -> Callable:
    """torch.compile for a rank whose operations are counted: its functions run uncompiled.

    A compiled function hides its operations behind fused ones, which nobody could count.
    """

    @functools.wraps(compile)
    def call(*args, **options):
        torch.compiler.set_stance("force_eager")
        return compile(*args, **options)

    return call

"""Record when a torch rank enters and leaves its forward and backward passes."""

from __future__ import annotations

import functools
import warnings

import torch
from torch.nn.modules import module as nn_module

from lablib.frameworks.torch import compat
from lablib.record.recorder import Recorder


def record_phases(recorder: Recorder) -> None:
    """From now on, record the passes of every module and of every call of autograd."""
    modules = _Modules(recorder)
    nn_module.register_module_forward_pre_hook(modules.enter)
    nn_module.register_module_forward_hook(modules.leave, always_call=True)
    warnings.filterwarnings("ignore", "Using `torch.compile.module.` when there are global hooks")
    for name in ("backward", "grad"):
        compat.replace(f"torch.autograd:{name}", lambda run_pass: _backward(run_pass, recorder))


class _Modules:
    """The hooks of all modules: the outermost module's forward pass counts."""

    def __init__(self, recorder):
        self.recorder, self.entered = recorder, 0

    def enter(self, *_):
        if torch.compiler.is_compiling():
            return  # not a pass: the compiler only reads the module's code
        self.entered += 1
        if self.entered == 1:
            self.recorder.enters("forward")

    def leave(self, *_):
        if torch.compiler.is_compiling():
            return
        self.entered -= 1
        if self.entered == 0:
            self.recorder.leaves()


def _backward(run_pass, recorder):
    @functools.wraps(run_pass)
    def call(*args, **kwargs):
        if torch.compiler.is_compiling():
            return run_pass(*args, **kwargs)
        recorder.enters("backward")
        try:
            return run_pass(*args, **kwargs)
        finally:
            recorder.leaves()

    return call

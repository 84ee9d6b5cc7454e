"""Stand-ins for parts that no answer depends on: clusters, plots, the other framework.

While a notebook's cells run to find its answers, a stand-in accepts any use without an error. So a
cell that trains a model or draws its losses takes no time, and the lines below it run, too.
"""

from __future__ import annotations

import dis
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

from lablib import frameworks
from lablib.errors import LabError

# Functions that start, show or store something. `check` is not here: it says what to grade.
_OF_THE_KIT = """
    Cluster train compare what_if doctor predict quiz explain progress
""".split()
_PICTURES = ("lablib.views", "matplotlib")
_OPERATORS = "add sub mul matmul truediv floordiv mod pow lshift rshift and or xor".split()


class StandIn:
    """Accept any use: a call, an attribute, an item, a loop, `with`, arithmetic, comparisons,
    unpacking into names."""

    def __init__(self, *_, **__):
        pass

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)  # Python and its libraries ask by these what a value is
        return StandIn()

    def __call__(self, *_, **__):
        return StandIn()

    def __bool__(self, *_):
        return False

    def __len__(self, *_):
        return 0

    def __float__(self, *_):
        return 0.0

    def __iter__(self):
        """As long as an assignment such as `a, b = plt.subplots()` needs; empty in a loop."""
        return iter([StandIn() for _ in range(_unpacked_into(sys._getframe(1)))])

    def __enter__(self):
        return self

    def __reduce__(self):
        return StandIn, ()

    __getitem__ = __neg__ = __abs__ = __call__
    __setitem__ = __delitem__ = __exit__ = __init__
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__
    __instancecheck__ = __subclasscheck__ = __bool__
    __int__ = __index__ = __round__ = __len__


for _name in _OPERATORS:
    setattr(StandIn, f"__{_name}__", StandIn.__call__)
    setattr(StandIn, f"__r{_name}__", StandIn.__call__)


def _unpacked_into(frame):
    """Return how many names the assignment that runs in this frame needs; 0 if it unpacks none."""
    for step in dis.get_instructions(frame.f_code):
        if step.offset == frame.f_lasti and step.opname == "UNPACK_SEQUENCE":
            return step.arg
        if step.offset == frame.f_lasti and step.opname == "UNPACK_EX":
            return (step.arg & 0xFF) + (step.arg >> 8)  # before and after the starred name
    return 0


class _StandInModule(ModuleType):
    """A module in which every name is a stand-in."""

    __all__ = ()

    def __getattr__(self, name):
        return getattr(StandIn(), name)

    def __reduce__(self):
        return _StandInModule, (self.__name__,)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stand-in for each of these packages and for every module in them."""

    def __init__(self, packages: Sequence[str]):
        self.packages = tuple(packages)

    def stands_for(self, fullname: str) -> bool:
        return f"{fullname}.".startswith(tuple(f"{package}." for package in self.packages))

    def find_spec(self, fullname, path=None, target=None):
        if self.stands_for(fullname):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        return _StandInModule(spec.name)

    def exec_module(self, module):
        pass


def install(framework: str, check: Callable) -> None:
    """Replace, in this process and for good, what a notebook's cells must not use for real.

    framework   the one that this process has imported
    check       takes the place of `lab.check`
    """
    from lablib.cluster.local import launch

    kit = sys.modules["lablib"]
    # Both frameworks in one process may hang.
    others = (other for other in frameworks.EVERY if other.name != framework)
    finder = _Finder((*_PICTURES, *(package for other in others for package in other.packages)))
    for name in filter(finder.stands_for, list(sys.modules)):
        del sys.modules[name]  # imported before; from now on, importing it gives the stand-in
    sys.meta_path.insert(0, finder)
    for name in _OF_THE_KIT:
        setattr(kit, name, StandIn())
    kit.check = check
    launch.zygote = _start_no_ranks


def _start_no_ranks(*_):
    raise LabError(
        "A notebook's cells cannot start ranks while they are graded.",
        saw="a cell that starts ranks without lab.Cluster",
        do="start them with lab.Cluster",
    )

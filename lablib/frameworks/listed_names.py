"""A list of the names of a framework that its next version may change or remove.

Each framework has one such list, in its `compat.py`. No other file uses a name of the list
directly.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

from lablib.errors import LabError
from lablib.frameworks.refusals import refusal


class ListedNames:
    """Private, patched and version-dependent names of one framework, each with its reason.

    framework   "torch" or "tensorflow"
    tested      the version that constraints.txt pins
    reasons     {"module:name" or "module:class.name": why the kit needs this name}
    """

    def __init__(self, framework: str, tested: str, reasons: Mapping[str, str]):
        self.framework = framework
        self.tested = tested
        self.reasons = reasons

    def check(self) -> None:
        """Raise LabError if the installed version lacks one of the names.

        This imports nothing: `find` checks the names of a module that is not loaded yet when they
        are first used.
        """
        loaded = [path for path in self.reasons if path.partition(":")[0] in sys.modules]
        missing = [path for path in loaded if not _exists(path)]
        if missing:
            raise self._missing(missing)

    def find(self, path: str) -> Any:
        """Return the object with this name, or an attribute inside of an object on the list.

        Raises LabError if the installed version does not have it, and KeyError if the list does
        not.
        """
        if not path.startswith(tuple(self.reasons)):
            raise KeyError(path)
        if not _exists(path):
            raise self._missing([path])
        return pkgutil.resolve_name(path)

    def getter(self, path: str) -> Callable[[Any], Any]:
        """Return a function that reads this listed attribute of an object."""
        self.find(path)
        return attrgetter(path.rpartition(".")[2])

    def replace(self, path: str, make: Callable[[Any], Any]) -> None:
        """Replace a listed function by `make(original)`, also in a package that re-exports it.

        For example, torch.distributed re-exports the functions of its distributed_c10d.
        """
        original = self.find(path)
        module, _, attributes = path.partition(":")
        inside, _, name = attributes.rpartition(".")
        owners = [pkgutil.resolve_name(f"{module}:{inside}")]
        package = sys.modules.get(module.rpartition(".")[0])
        if not inside and getattr(package, name, None) is original:
            owners.append(package)
        made = make(original)
        for owner in owners:
            setattr(owner, name, made)

    def forbid(self, paths: Iterable[str], *why: str) -> None:
        """Make these functions raise LabError from now on; `why` has the arguments of `refusal`."""
        for path in paths:
            refused = refusal(path.replace(":", ".").rpartition(".")[2], *why)
            self.replace(path, lambda _, refused=refused: refused)

    def unknown(self, name: str) -> Callable:
        """Return a function that replaces an unknown collective and raises LabError."""
        what = f"{self._versions()}; the recorder does not know this function"
        return refusal(name, what, "on the ranks of a cluster", self._cure())

    def _missing(self, paths):
        reasons = [f"{path.replace(':', '.')}: {self.reasons.get(path, '')}" for path in paths]
        return LabError(
            f"This version of {self.framework} lacks names that the kit relies on.",
            saw="\n".join([self._versions(), *reasons]),
            do=self._cure(),
        )

    def _versions(self):
        installed = sys.modules[self.framework].__version__
        return f"{self.framework} {installed}; the kit was tested with {self.tested}"

    def _cure(self):
        return f"install the tested version: pip install {self.framework}=={self.tested}"


def _exists(path):
    try:
        pkgutil.resolve_name(path)
    except (ImportError, AttributeError):
        return False
    return True

"""What a model was trained with: versions of packages, Python and the platform, and the data."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from importlib import metadata
from pathlib import Path

from lablib import frameworks

_PACKAGES = ["numpy", *(package for each in frameworks.EVERY for package in each.packages)]


def environment() -> str:
    """Return a hash (16 hexadecimal digits) of all installed packages, Python and the platform.

    Two equal hashes mean equal versions of everything that can change the trained weights, except
    the processor's model.
    """
    packages = {f"{each.name}=={each.version}" for each in metadata.distributions()}
    lines = [platform.python_version(), platform.platform(), *sorted(packages)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def data_sha256(project: Path) -> str:
    """Return the SHA-256 of the data file in a project's folder."""
    return hashlib.sha256((project / "data" / "digits.csv").read_bytes()).hexdigest()


def software() -> dict[str, str]:
    """Return the versions of Python and of the packages that train, if they are installed."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found

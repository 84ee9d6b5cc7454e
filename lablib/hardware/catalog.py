"""Named machines from catalog.toml, with a source for each constant, and from users' own files."""

from __future__ import annotations

import os
from functools import cache

from lablib.errors import LabError, unknown
from lablib.hardware import description
from lablib.hardware.description import Description
from lablib.hardware.hardware import Hardware


def names() -> list[str]:
    """Return the names of the machines that `get` knows.

    >>> "dgx-a100" in names()
    True
    """
    return sorted(_machines())


def get(hardware: str | os.PathLike | Hardware) -> Hardware:
    """Return the machine with that name or from that TOML file; Hardware is returned unchanged.

    Raises LabError if there is no such machine, or if the file is wrong or describes several.

    >>> get("dgx-a100").per_node
    8
    """
    if isinstance(hardware, Hardware):
        return hardware
    if str(hardware).endswith(".toml"):
        return _only_one(load(hardware), hardware)
    if not isinstance(hardware, (str, os.PathLike)) or hardware not in _machines():
        raise unknown("hardware", hardware, names(), "choose one, or describe yours in TOML")
    return _machines()[hardware]


def load(path: str | os.PathLike) -> dict[str, Hardware]:
    """Load the machines that a TOML file describes, by name. `description` documents the format.

    Raises LabError with the file, the line and what to do if something is wrong.
    """
    return _built(description.read(path))


@cache
def _machines():
    return _built(description.shipped())


def _built(found: Description) -> dict[str, Hardware]:
    machines = {}
    for name, values in found.machines.items():
        try:
            machines[name] = Hardware(**values, name=name)
        except LabError as error:
            raise found.refused(("machines", name), error) from None
    return machines


def _only_one(machines, path):
    if len(machines) != 1:
        raise LabError(
            "This file does not describe exactly one machine.",
            saw=f"{path}: {', '.join(machines) or 'none'}",
            do=f"choose one: lab.hardware.load({str(path)!r})[...]"
            if machines
            else 'add a table [machines.mine] with device = "t4"',
        )
    return next(iter(machines.values()))

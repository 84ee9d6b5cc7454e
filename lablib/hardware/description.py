"""Read devices, links and machines from TOML; report each mistake with its line and what to do.

    [devices.my-gpu]
    flops = { fp32 = "8.1 TFLOP/s", fp16 = "65 TFLOP/s" }
    bandwidth = "320 GB/s"
    memory = "16 GB"
    start = "5 us"             # optional: the least time of an operation

    [links.office]
    bandwidth = "10 Gbit/s"
    latency = "50 us"
    degrades_at = "2 s"        # optional: from then on, the link is slower
    degrades_to = 0.1          # the share of its bandwidth that then remains

    [machines.my-cluster]
    device = "my-gpu"          # from this file, or from the catalog
    nodes = 4
    between = "office"
    slow = { 2 = 3.0 }         # and any other argument of `Hardware`

A value may also be { is = "320 GB/s", source = "where it comes from" }.
"""

from __future__ import annotations

import importlib.resources
import os
import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lablib.errors import LabError, did_you_mean
from lablib.hardware.device import PRECISIONS, Device
from lablib.hardware.network import Link
from lablib.units import parse_bytes, parse_bytes_per_s, parse_flop_per_s, parse_s

_TABLES = ("devices", "links", "machines", "sources")
_DEVICE = {"bandwidth": parse_bytes_per_s, "memory": parse_bytes}
_LINK = {"bandwidth": parse_bytes_per_s, "latency": parse_s}
_WHOLE = ("nodes", "per_node", "lanes", "seed")
_TEXTS = ("device", "within", "between", "all_reduce", "about")
_SOURCED = ("is", "source", "how")


@dataclass(frozen=True)
class Description:
    """The content of one file; `machines` are the arguments of `Hardware`."""

    file: str
    text: str = field(repr=False)
    devices: dict[str, Device] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    machines: dict[str, dict[str, Any]] = field(default_factory=dict)

    def named(self, kind: str, name: str) -> Device | Link:
        """Return the entry of `devices` or `links` with this name, or raise LabError."""
        known = getattr(self, kind)
        if name not in known:
            raise LabError(
                f"There is no {kind[:-1]} {name!r}.",
                saw=f"{self.file} has {', '.join(sorted(known)) or 'none'}",
                do=did_you_mean(name, known)
                or f"choose one of these, or pass a {kind[:-1].title()}",
            )
        return known[name]

    def fails(self, path: tuple[str, ...], wrong: str, saw: str, do: str) -> LabError:
        """Return an error about the value at `path`, with the file and the line."""
        return LabError(wrong, saw=f"{self.file}, line {_line(self.text, path)}: {saw}", do=do)

    def refused(self, path: tuple[str, ...], error: LabError) -> LabError:
        """Return the same error with the line of the key that it is about, or else of `path`."""
        return self.fails((*path, *error.about), error.wrong, error.saw, error.do)


@cache
def shipped() -> Description:
    """Return the catalog that comes with lablib."""
    file = importlib.resources.files("lablib.hardware") / "catalog.toml"
    return parse(file.read_text(encoding="utf-8"), "catalog.toml")


def read(path: str | os.PathLike) -> Description:
    """Read the description in a file; raise LabError with the line and what to do."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # editors on Windows put a mark first
    except (OSError, TypeError, UnicodeDecodeError) as error:
        raise LabError(
            "The file with the description cannot be read.",
            saw=f"{path}: {error}",
            do="check the path",
        ) from error
    return parse(text, str(path), known=shipped())


def parse(text: str, file: str, known: Description | None = None) -> Description:
    """Read the description in a text, which may use the devices and links of `known`."""
    found = Description(file, text)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LabError(
            "The file is not valid TOML.",
            saw=f"{file}: {error}",
            do='write each key only once, and put texts in quotes, such as "10 Gbit/s"',
        ) from None
    _only(found, (), tables, _TABLES)
    for kind, make in (("devices", _device), ("links", _link), ("machines", _machine)):
        getattr(found, kind).update(getattr(known, kind) if known and kind != "machines" else {})
        group = _table(found, (), tables, kind)
        for name in group:
            table = _table(found, (kind,), group, name)
            getattr(found, kind)[name] = make(found, (kind, name), table)
    return found


def _device(found, path, table):
    _only(found, path, table, ("flops", *_DEVICE, "start", "about"))
    values = {key: _quantity(found, path, table, key, read) for key, read in _DEVICE.items()}
    rates = _table(found, path, table, "flops", needed='flops = { fp32 = "8.1 TFLOP/s" }')
    _only(found, (*path, "flops"), rates, PRECISIONS)
    inside = (*path, "flops")
    flops = {key: _quantity(found, inside, rates, key, parse_flop_per_s) for key in rates}
    start_s = _quantity(found, path, table, "start", parse_s) if "start" in table else 0.0
    return _built(
        found, path, Device, path[-1], flops, values["bandwidth"], values["memory"], start_s
    )


def _link(found, path, table):
    _only(found, path, table, (*_LINK, "degrades_at", "degrades_to", "about"))
    values = [_quantity(found, path, table, key, read) for key, read in _LINK.items()]
    later = {}
    if "degrades_at" in table:
        later["degrades_at_s"] = _quantity(found, path, table, "degrades_at", parse_s)
    if "degrades_to" in table:
        later["degrades_to"] = _number(found, path, table, "degrades_to")
    return _built(found, path, Link, *values, **later)


def _machine(found, path, table):
    _only(found, path, table, (*_TEXTS, *_WHOLE, "slow", "jitter"))
    values = {key: _bare(found, path, table, key) for key in table if key != "slow"}
    for key in _TEXTS:
        if not isinstance(values.get(key, ""), str):
            raise found.fails(
                (*path, key), f"{key} must be a text.", repr(values[key]), "use quotes"
            )
    if "device" not in values:
        cure = f"add a line such as device = {min(found.devices, default='t4')!r}"
        raise found.fails(path, "A machine needs a device.", f"[{'.'.join(path)}]", cure)
    for key, kind in (("device", "devices"), ("within", "links"), ("between", "links")):
        if key in values:
            try:
                values[key] = found.named(kind, values[key])
            except LabError as error:
                raise found.fails((*path, key), error.wrong, error.saw, error.do) from None
    for key in (*_WHOLE, "jitter"):
        if key in values:
            values[key] = _number(found, path, table, key, whole=key in _WHOLE)
    slow = _table(found, path, table, "slow")
    times = [_number(found, (*path, "slow"), slow, rank) for rank in slow]
    ranks = [int(rank) if rank.isdecimal() else rank for rank in slow]
    values["slow"] = dict(zip(ranks, times))
    values.pop("about", None)
    return values


def _built(found, path, make, *values, **options):
    try:
        return make(*values, **options)
    except LabError as error:
        raise found.refused(path, error) from None


def _quantity(found, path, table, key, read):
    """Read a number with its unit; it must be above 0, but a latency may be 0."""
    here = (*path, key)
    if key not in table:
        example = {parse_s: "50 us", parse_bytes: "16 GB", parse_bytes_per_s: "10 Gbit/s"}[read]
        cure = f'add a line such as {key} = "{example}"'
        raise found.fails(path, f"{path[-1]} needs a {key}.", f"[{'.'.join(path)}]", cure)
    value = _bare(found, path, table, key)
    try:
        if not isinstance(value, str):
            read("a number without its unit")
        number = read(value.strip().removeprefix("-"))
    except LabError as error:
        saw = f"{key} = {value!r}"
        raise found.fails(here, f"The {key} of {path[1]} cannot be read.", saw, error.do) from None
    if value.strip().startswith("-") or (number == 0 and read is not parse_s):
        wrong = f"The {key} of {path[1]} must be above 0."
        raise found.fails(here, wrong, f"{key} = {value!r}", "write a positive number and its unit")
    return number


def _number(found, path, table, key, whole=False):
    value = _bare(found, path, table, key)
    kinds, what = ((int,), "a whole number") if whole else ((int, float), "a number")
    if not isinstance(value, kinds) or isinstance(value, bool) or value < 0:
        wrong = f"{key} must be {what} and not negative."
        raise found.fails((*path, key), wrong, f"{key} = {value!r}", "write it without quotes")
    return value


def _bare(found, path, table, key):
    """Return the value, whether it comes with a source or without."""
    value = table.get(key)
    if not isinstance(value, dict):
        return value
    _only(found, (*path, key), value, _SOURCED)
    if "is" not in value:
        cure = f'write {key} = {{ is = "...", source = "..." }}'
        raise found.fails((*path, key), f"{key} has no value.", f"{key} = {value!r}", cure)
    return value["is"]


def _table(found, path, table, key, needed=""):
    value = table.get(key, {})
    if not isinstance(value, dict) or (needed and not value):
        cure = (
            f"add a line such as {needed}" if needed else f"write it as [{'.'.join((*path, key))}]"
        )
        raise found.fails((*path, key), f"{key} must be a table.", f"{key} = {value!r}", cure)
    return value


def _only(found, path, table, known):
    for key in table:
        if key not in known:
            cure = did_you_mean(key, known, f"choose one of {', '.join(known)}")
            raise found.fails((*path, key), f"There is no key {key!r} here.", key, cure)


def _line(text, path):
    """Return the line of this key, or else of its table; tomllib does not report lines."""
    best = 1
    depth = 0
    table = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+([^\[\]]+)\]", line)
        if header:
            here = table = _keys(header[1])
        elif "=" in line and not line.lstrip().startswith("#"):
            here = table + _keys(line.partition("=")[0])
        else:
            continue
        shared = min(len(here), len(path))
        if shared > depth and path[:shared] == here[:shared]:
            best, depth = number, shared
    return best


def _keys(dotted):
    """Split "devices.'a100.80gb'" into devices and a100.80gb."""
    parts = re.findall(r"""\"([^"]*)\"|'([^']*)'|([^.\s"']+)""", dotted)
    return tuple("".join(part) for part in parts)

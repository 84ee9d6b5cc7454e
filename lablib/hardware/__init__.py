"""Modelled machines: how long an operation takes on a device, and a message on a link."""

from __future__ import annotations

import importlib

_PUBLIC = {
    "Hardware": "hardware",
    "Link": "network",
    "Device": "device",
    "names": "catalog",
    "get": "catalog",
    "load": "catalog",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"lablib.hardware.{_PUBLIC[name]}"), name)
    raise AttributeError(f"lablib.hardware has no {name!r}; it has {', '.join(sorted(__all__))}")


def __dir__():
    return sorted(__all__)

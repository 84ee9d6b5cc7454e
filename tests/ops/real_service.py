"""The service of a pipeline as it is, but without trainers: for stubbed training."""

from __future__ import annotations

from lablib.ops import service


def main(arguments: list[str]) -> None:
    service.TRAINED = ()
    service.main(arguments)

"""The service of a pipeline without trainers, and with a server that only waits to be ended."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from lablib.files import write_completely
from lablib.ops import service


def main(arguments: list[str]) -> None:
    service.SERVER, service.SETTLE, service.TRAINED = "bare_server", "bare_settle", ()
    service.main(arguments)


def serve(state: str) -> None:
    about = {"url": "http://127.0.0.1:9", "pid": os.getpid()}
    write_completely(Path(state) / "server.json", json.dumps(about))
    signal.pause()

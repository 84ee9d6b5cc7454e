"""Unix sockets in a pipeline's folder `state`, which only its owner can use.

The path of such a socket may have at most 107 bytes, and folders of notebooks can be deep. So both
sides move into the folder for a moment and use the file's bare name.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path

# The current folder belongs to the process: two threads at once could leave it in the wrong place.
_one_moves = threading.Lock()


def listen(folder: Path, name: str) -> socket.socket:
    """Return a socket that listens at `folder/name`, with mode 0600; replace an old file."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _one_moves, contextlib.chdir(folder):
        Path(name).unlink(missing_ok=True)
        server.bind(name)
        os.chmod(name, 0o600)
    server.listen()
    return server


def connect(folder: Path, name: str) -> socket.socket | None:
    """Return a connection to the process that listens there; None if there is no such process."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _one_moves, contextlib.chdir(folder):
            client.connect(name)
    except (FileNotFoundError, ConnectionError):
        client.close()
        return None
    return client

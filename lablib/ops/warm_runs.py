"""Pass `python -m lablib run` on to a process that has imported the framework already.

The service of a pipeline keeps such a process, `lablib.cli_warm`, for each framework. A step of the
pipeline finds it by an environment variable. The step's own process sends its arguments, folder,
environment and open files, so that the ranks print where the step prints.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

import msgspec

from lablib.cluster.engine import wire
from lablib.errors import LabError
from lablib.ops.unix_socket import connect

VARIABLE = "LABLIB_WARM_RANKS"  # the folder with the sockets
_Text = Annotated[str, msgspec.Meta(max_length=1 << 17)]


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """The command line of `lablib run`, and where it runs."""

    arguments: Annotated[list[_Text], msgspec.Meta(max_length=1000)]
    folder: _Text
    environment: Annotated[dict[_Text, _Text], msgspec.Meta(max_length=10000)]


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """The exit status of the command."""

    status: Annotated[int, msgspec.Meta(ge=0, le=255)]


def socket_name(framework: str) -> str:
    """Return the name of the framework's socket in the folder."""
    return f"{framework}.sock"


def forward(framework: str, arguments: list[str]) -> int | None:
    """Let the warm process run the command, and return the command's exit status.

    Returns None if there is no such process: outside of a pipeline, or while it starts again.
    Raises LabError if the process dies during the run.
    """
    folder = os.environ.get(VARIABLE)
    connection = connect(Path(folder), socket_name(framework)) if folder else None
    if connection is None:
        return None
    others = {name: text for name, text in os.environ.items() if name != VARIABLE}
    request = Request(arguments, os.getcwd(), others)
    with connection:
        try:
            wire.send(connection, msgspec.to_builtins(request), (1, 2))
            answer, _ = wire.receive(connection)
        except (OSError, EOFError):
            answer = None
    if answer is None:
        raise LabError(
            "The process that starts the ranks has died.",
            saw=f"{framework}, in the pipeline {folder}",
            do="push again: the pipeline has started a new one",
        )
    return msgspec.convert(answer, Answer).status


def receive(connection: socket.socket) -> tuple[Request, list[int]]:
    """Return the request of a client, and its open files for stdout and stderr.

    Raises ValueError if a request is not valid, or the client has gone.
    """
    message, files = wire.receive(connection, max_fds=2)
    try:
        return msgspec.convert(message, Request), files
    except msgspec.ValidationError:
        for each in files:
            os.close(each)
        raise

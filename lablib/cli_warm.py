"""A process that keeps a framework imported and runs `python -m lablib run` for its clients.

The service of a pipeline (`lablib.ops.service`) starts one for each framework. It runs one command
at a time, in the folder and with the environment and the output of the client, and sends back the
exit status. If the client ends before, the run is stopped as by Ctrl-C.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from lablib import cli
from lablib.cluster.engine import wire
from lablib.cluster.local import launch
from lablib.ops import warm_runs
from lablib.ops.unix_socket import listen


def main(arguments: list[str]) -> None:
    """Serve until this process is ended. The arguments: the folder of the socket, a framework."""
    folder, framework = arguments
    with listen(Path(folder), warm_runs.socket_name(framework)) as server:
        launch.zygote(framework).wait_ready()
        while True:
            connection, _ = server.accept()
            with connection:
                _serve(connection)


def _serve(connection):
    try:
        request, files = warm_runs.receive(connection)
    except (ValueError, OSError, EOFError):
        return  # not a client of the kit, or it has gone
    try:
        with _place_of_the_client(request, files), _interrupted_when_gone(connection):
            status = cli.main(request.arguments)
        wire.send(connection, msgspec.to_builtins(warm_runs.Answer(status)))
    except (OSError, KeyboardInterrupt):
        pass  # the client has gone


@contextmanager
def _place_of_the_client(request: warm_runs.Request, files: list[int]) -> Iterator[None]:
    """Have the client's folder, environment and output inside this context."""
    own = dict(os.environ), os.getcwd(), [os.dup(1), os.dup(2)]
    try:
        _take_place(request.environment, request.folder, files)
        yield
    finally:
        _take_place(*own)


def _take_place(environment, folder, files):
    sys.stdout.flush()
    sys.stderr.flush()
    for target, file in enumerate(files, start=1):
        os.dup2(file, target)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)


@contextmanager
def _interrupted_when_gone(connection: socket.socket) -> Iterator[None]:
    """Raise KeyboardInterrupt in the main thread as soon as the client closes its connection."""
    over, ends = os.pipe()

    def watch():
        ready, _, _ = select.select([connection, over], [], [])
        if over not in ready:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        os.close(ends)
        watcher.join()
        os.close(over)

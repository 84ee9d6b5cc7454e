"""Start the service of a pipeline, as a child of this notebook's kernel."""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import subprocess
import time
from pathlib import Path
from typing import TextIO

from lablib import progress_bars
from lablib.computer import processes
from lablib.errors import LabError
from lablib.ops.unix_socket import connect

SERVICE = "lablib.ops.service"
_CLOSE_WITHIN_S = 15
_LOCK_WITHIN_S = 10  # for the service of a kernel that has just ended
_LOOK_EVERY_S = 0.1
_services: dict[Path, ServiceProcess] = {}


def of(folder: Path) -> ServiceProcess:
    """Return this kernel's service of the pipeline in a folder; start it if it does not run.

    Raises LabError if another notebook has opened this pipeline.
    """
    known = _services.get(folder)
    if known is None or not known.runs():
        known = _services[folder] = ServiceProcess(folder)
    return known


def lock(state: Path) -> TextIO | None:
    """Return the open file that makes this process the only one that uses `state`, or None."""
    file = open(state / "lock", "w")
    until_s = time.monotonic() + _LOCK_WITHIN_S
    while time.monotonic() < until_s:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            time.sleep(_LOOK_EVERY_S)
    file.close()
    return None


def closed(folder: Path) -> TextIO:
    """End this kernel's service of a folder, and return the lock that keeps others out of it.

    Raises LabError if another notebook has opened this pipeline.
    """
    if known := _services.pop(folder, None):
        known.close()
    if (file := lock(folder / "state")) is None:
        raise _not_started(folder / "state", True)
    return file


class ServiceProcess:
    """The service, as the notebook sees it."""

    def __init__(self, folder: Path):
        self.state, self._owner = folder / "state", os.getpid()
        command = processes.command(SERVICE, str(folder), str(os.getpid()))
        with open(self.state / "service.log", "ab") as log:
            # A session of its own: signals for the kernel and all of its group do not reach it.
            self.process = subprocess.Popen(
                command, env=processes.environment(), start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        with progress_bars.bar("starting the pipeline") as bar:
            bar.refresh()
            answer = self.process.stdout.readline()
        if not answer or not json.loads(answer)["ready"]:
            self.close()
            raise _not_started(self.state, bool(answer))

    def runs(self) -> bool:
        """True if it is this process's own, not that of a parent it was forked from, and alive."""
        return self._owner == os.getpid() and self.process.poll() is None

    def is_busy(self) -> bool:
        """Return whether a delivery is running. Raises LabError if the service does not answer."""
        return self._ask("status")["busy"]

    def wait_for_server(self) -> None:
        """Wait until the model server answers, which takes a few seconds after its start.

        Raises LabError if it does not start, or if the service does not answer.
        """
        if not self._ask("wait")["ready"]:
            raise server_not_started(self.state)

    def _ask(self, op):
        connection = connect(self.state, "service.sock")
        if connection is None:
            raise _not_started(self.state, False)
        with connection, connection.makefile("rw") as stream:
            stream.write(json.dumps({"op": op}) + "\n")
            stream.flush()
            return json.loads(stream.readline())

    def close(self) -> None:
        """End the service and all processes of the pipeline. Calling it twice is harmless."""
        if self._owner != os.getpid():
            return
        self.process.stdin.close()
        try:
            self.process.wait(_CLOSE_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def _not_started(state, is_open):
    if is_open:
        return LabError(
            "Another notebook has opened this pipeline.",
            saw=f"{state / 'lock'} is locked",
            do="close the other notebook, or use another folder: lab.ops.Pipeline('pipeline2')",
        )
    return LabError(
        "The service of the pipeline has ended.",
        saw=end_of_log(state / "service.log"),
        do="open the pipeline again: lab.ops.Pipeline('pipeline')",
    )


def server_not_started(state: Path) -> LabError:
    """Return the error that says why the model server does not answer."""
    return LabError(
        "The model server does not start.",
        saw=end_of_log(state / "server.log"),
        do=f"read {state / 'server.log'}",
    )


def end_of_log(path: Path) -> str:
    """Return the last 800 characters of a log, or why there are none."""
    try:
        return path.read_text(errors="replace").strip()[-800:] or "it has printed nothing"
    except OSError as error:
        return f"{path.name}: {error.strerror}"


@atexit.register
def close_all() -> None:
    """End the services of this process, as leaving the kernel does."""
    while _services:
        _services.popitem()[1].close()

"""A process that imports a framework once and then serves runs, from the view of its starter."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lablib import progress_bars
from lablib.cluster.engine import wire
from lablib.errors import LabError

_SHOW_PROGRESS_AFTER_S = 0.4
_GIVE_UP_IMPORT_S = 300
_CLOSE_WITHIN_S = 10


class FrameworkProcess:
    """Start the process without waiting for it.

    started   started(folder, descriptor, options) starts it and returns the `Popen`. The process
              gets one end of `control` as this descriptor, and `options` are passed to `Popen`
    folder    the folder for the files of the process and of its runs
    """

    def __init__(self, framework: str, started: Callable[[Path, int, dict], subprocess.Popen]):
        self.framework, self.owner = framework, os.getpid()
        self.folder = Path(tempfile.mkdtemp(prefix="lablib-"))
        self.shared_network = ""
        self._ready = False
        self._one_at_a_time = threading.RLock()  # clusters may be used from several threads
        self.control, theirs = socket.socketpair()
        with theirs, open(self.folder / "zygote.log", "wb") as log:
            options = dict(pass_fds=[theirs.fileno()], start_new_session=True,
                           stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # fmt: skip
            self.process = started(self.folder, theirs.fileno(), options)

    def usable(self) -> bool:
        """Return True if it is alive and belongs to this process, not to a parent before a fork."""
        return self.owner == os.getpid() and self.process.poll() is None

    def wait_ready(self) -> None:
        """Wait until the framework is imported, with a progress bar if it takes long."""
        with self._one_at_a_time:
            if not self._ready:
                self._wait_ready()

    def send(self, message: dict, fds: tuple[int, ...] = ()) -> None:
        with self._one_at_a_time:
            wire.send(self.control, message, fds)

    def last_words(self) -> str:
        """Return the end of its log."""
        try:
            return (self.folder / "zygote.log").read_text(errors="replace").strip()[-800:]
        except FileNotFoundError:
            return ""  # it ended by itself, and removed its folder

    def close(self) -> None:
        """End it, its ranks and its files. Calling it twice is harmless."""
        if self.owner != os.getpid():
            return
        self.control.close()
        try:
            self.process.wait(_CLOSE_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_ready(self):
        try:
            answer = self._first_message()
        finally:
            self.control.settimeout(None)
        if answer is None or "failed" in answer:
            raise self._failed(answer)
        self.shared_network = answer["shared_network"]
        self._ready = True

    def _first_message(self):
        """Return the process's first message; None if it has ended or takes too long."""
        bar, give_up_s = None, time.monotonic() + _GIVE_UP_IMPORT_S
        self.control.settimeout(_SHOW_PROGRESS_AFTER_S)
        with contextlib.ExitStack() as shown:
            while time.monotonic() < give_up_s:
                try:
                    return wire.receive(self.control)[0]
                except TimeoutError:
                    if bar is None:
                        text = f"importing {self.framework}, once for this notebook"
                        bar = shown.enter_context(progress_bars.bar(text))
                    bar.refresh()
                except (ConnectionError, EOFError):
                    break
        return None

    def _failed(self, answer):
        told = (answer or {}).get("failed") or self.last_words()
        self.close()
        return LabError(
            f"{self.framework} could not be imported in a new process.",
            saw=told or "the process ended without a message",
            do="run `python -m lablib doctor`; it says what is missing and how to fix it",
        )

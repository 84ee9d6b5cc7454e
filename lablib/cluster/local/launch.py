"""The kernel's side of the zygote: start it once for each framework, open runs on it."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from lablib import progress_bars
from lablib.cluster.engine import wire
from lablib.computer import processes
from lablib.computer.facts import start_method
from lablib.errors import LabError

_SHOW_PROGRESS_AFTER_S = 0.4
_GIVE_UP_IMPORT_S = 300
_CLOSE_WITHIN_S = 10
QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "ERROR",
    "GRPC_ENABLE_FORK_SUPPORT": "0",
}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_zygotes: dict[str, ZygoteProcess] = {}
_one_at_a_time = threading.RLock()  # clusters may be used from several threads


def zygote(framework: str) -> ZygoteProcess:
    """This kernel's zygote of the framework, started when there is none or it has died."""
    with _one_at_a_time:
        known = _zygotes.get(framework)
        if known is None or not known.usable():
            if known is not None:
                known.close()
            known = _zygotes[framework] = ZygoteProcess(framework)
        return known


class ZygoteProcess:
    """A zygote and the folder in which its runs keep their files. Starting it waits for nothing."""

    def __init__(self, framework: str):
        self.framework, self.start, self.owner = framework, start_method(), os.getpid()
        self.folder = Path(tempfile.mkdtemp(prefix="lablib-"))
        self.shared_network = ""
        self._ready = False
        self.control, theirs = socket.socketpair()
        self.environment = dict(os.environb)
        self.process = self._started(theirs)
        theirs.close()

    def _started(self, theirs):
        arguments = [self.framework, self.start, self.folder, theirs.fileno(), os.getpid()]
        with open(self.folder / "zygote.log", "wb") as log:
            return subprocess.Popen(
                processes.command("lablib.cluster.local.zygote", *map(str, arguments)),
                pass_fds=[theirs.fileno()], env=_environment(), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def usable(self) -> bool:
        """Whether it is this process's own (not that of a parent it was forked from) and alive."""
        ours = self.owner == os.getpid() and self.start == start_method()
        return ours and self.process.poll() is None

    def changed_environment(self) -> dict[bytes, bytes | None]:
        """What has changed in `os.environ` since the zygote began. None: the name is gone."""
        now, then = os.environb, self.environment
        names = [name for name in {*now, *then} if now.get(name) != then.get(name)]
        return {name: now.get(name) for name in names}

    def wait_ready(self) -> None:
        """Wait until the framework is imported, with a progress bar when that takes long."""
        with _one_at_a_time:
            if not self._ready:
                self._wait_ready()

    def _wait_ready(self):
        self.control.settimeout(_SHOW_PROGRESS_AFTER_S)
        try:
            answer = self._first_message()
        finally:
            self.control.settimeout(None)
        if answer is None or "failed" in answer:
            raise self._failed(answer)
        self.shared_network, self._ready = answer["shared_network"], True

    def import_for_training(self) -> None:
        """Import now what else training needs, once, instead of in every rank."""
        with _one_at_a_time:
            wire.send(self.control, {"op": "import"})

    def open_run(self) -> socket.socket:
        """A channel to the zygote for one run; closing it ends the run's processes."""
        channel, theirs = socket.socketpair()
        with _one_at_a_time:
            wire.send(self.control, {"op": "run"}, fds=(theirs.fileno(),))
        theirs.close()
        return channel

    def close(self) -> None:
        """End it, its ranks and its files. Twice is harmless."""
        if self.owner != os.getpid():
            return
        self.control.close()
        try:
            self.process.wait(_CLOSE_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _first_message(self):
        try:
            return wire.receive(self.control)[0]
        except TimeoutError:
            pass
        except (ConnectionError, EOFError):
            return None
        with progress_bars.bar(f"importing {self.framework}, once for this notebook") as bar:
            return self._message_with(bar)

    def _message_with(self, bar):
        give_up_s = time.monotonic() + _GIVE_UP_IMPORT_S
        while time.monotonic() < give_up_s:
            try:
                return wire.receive(self.control)[0]
            except TimeoutError:
                bar.refresh()
            except (ConnectionError, EOFError):
                break
        return None

    def _failed(self, answer):
        told = (answer or {}).get("failed") or self._last_words()
        self.close()
        return LabError(
            f"{self.framework} could not be imported in a process of its own.",
            saw=told or "the process ended without a word",
            do="run `python -m lablib doctor`; it names what is missing and the cure",
        )

    def _last_words(self):
        try:
            return (self.folder / "zygote.log").read_text(errors="replace").strip()[-800:]
        except FileNotFoundError:
            return ""  # it ended by itself, and took its folder with it


def _environment():
    return QUIET | processes.environment() | {"PYTHONUNBUFFERED": "1"} | ONE_THREAD


@atexit.register
def close_all() -> None:
    """End every zygote of this process, as leaving the kernel does."""
    while _zygotes:
        _zygotes.popitem()[1].close()

"""The local engine: start the zygote of a framework once, then start runs on it."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import threading

from lablib.cluster.engine import Work
from lablib.cluster.local.framework_process import FrameworkProcess
from lablib.cluster.local.local_ranks import LocalRanks
from lablib.cluster.spec import Spec
from lablib.computer import processes
from lablib.computer.facts import start_method

QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "ERROR",
    "GRPC_ENABLE_FORK_SUPPORT": "0",
}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_zygotes: dict[str, ZygoteProcess] = {}
_one_at_a_time = threading.RLock()  # clusters may be used from several threads


def zygote(framework: str) -> ZygoteProcess:
    """Return this kernel's zygote of the framework; start one if there is none or it has died."""
    with _one_at_a_time:
        known = _zygotes.get(framework)
        if known is None or not known.usable():
            if known is not None:
                known.close()
            known = _zygotes[framework] = ZygoteProcess(framework)
        return known


class ZygoteProcess:
    """A zygote and its runs; implements `Engine`. Starting it does not wait."""

    def __init__(self, framework: str):
        self.framework = framework
        self._start_method = start_method()
        self._environment = dict(os.environb)
        self._served = FrameworkProcess(framework, self._started)
        self.process = self._served.process
        self.folder = self._served.folder
        self.wait_ready = self._served.wait_ready
        self.close = self._served.close

    def start(self, spec: Spec, work: Work, own: list | None) -> LocalRanks:
        self.wait_ready()
        return LocalRanks(self, spec, work, own)

    @property
    def shared_network(self) -> str:
        """Return why its ranks share their network with others; "" if not, or if harmless."""
        return self._served.shared_network

    def usable(self) -> bool:
        """Return True if it is alive, this process's own, and starts ranks as required now."""
        return self._start_method == start_method() and self._served.usable()

    def changed_environment(self) -> dict[bytes, bytes | None]:
        """Return changes of `os.environ` since the zygote began; None: the name was removed."""
        now, then = os.environb, self._environment
        names = [name for name in {*now, *then} if now.get(name) != then.get(name)]
        return {name: now.get(name) for name in names}

    def import_for_training(self) -> None:
        """Import now the other modules that training needs, once, instead of in every rank."""
        self._served.send({"op": "import"})

    def open_run(self) -> socket.socket:
        """Return a socket to the zygote for one run; closing it ends the run's processes."""
        channel, theirs = socket.socketpair()
        with theirs:
            self._served.send({"op": "run"}, (theirs.fileno(),))
        return channel

    def _started(self, folder, descriptor, options):
        arguments = [self.framework, self._start_method, folder, descriptor, os.getpid()]
        command = processes.command("lablib.cluster.local.zygote", *map(str, arguments))
        environment = QUIET | processes.environment() | {"PYTHONUNBUFFERED": "1"} | ONE_THREAD
        return subprocess.Popen(command, env=environment, **options)


@atexit.register
def close_all() -> None:
    """End every zygote of this process; this also happens when the kernel ends."""
    while _zygotes:
        _zygotes.popitem()[1].close()

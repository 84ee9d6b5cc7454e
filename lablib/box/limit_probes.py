"""Test whether each limit holds, with a process in a rank set that tries to exceed it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Callable

from lablib.box.limits import Limits
from lablib.box.namespaces import FURNISHED, NEW_USER


def held(limits: Limits) -> dict[str, bool]:
    """Return for each limit, by its name in words, whether it held."""
    return {name: _in_a_child(trial, limits) for name, trial in _TRIALS.items()}


def _in_a_child(trial: Callable[[Limits], bool], limits):
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if trial(limits) else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) in (0, -signal.SIGXCPU)


def _cpu(limits):
    while True:  # the limit stops this loop, or the test never ends
        if os.times().user > limits.cpu_s + 3:
            return False


def _memory(limits):
    try:
        bytearray(limits.process_bytes + (64 << 20))
    except MemoryError:
        return True
    return False


def _open_files(limits):
    try:
        for _ in range(limits.open_files + 1):
            os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return True
    return False


def _file_size(limits):
    try:
        with open(os.path.join(FURNISHED[0], "file"), "wb") as file:
            os.truncate(file.fileno(), limits.file_bytes + 1)
    except OSError:
        return True
    return False


def _files(limits):
    most = limits.scratch_bytes, limits.shared_bytes
    about = [os.statvfs(folder) for folder in FURNISHED]
    return all(one.f_blocks * one.f_frsize <= nbytes for one, nbytes in zip(about, most))


def _network(limits):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        try:
            outside.connect(("192.0.2.1", 9))  # an address that belongs to nobody: RFC 5737
        except OSError:
            return True
    return False


def _no_rights(limits):
    with open("/proc/self/status") as file:
        capabilities = [line.split()[1] for line in file if line.startswith("CapEff:")]
    return os.getuid() != 0 and set(capabilities[0]) == {"0"}


def _no_more_namespaces(limits):
    return ctypes.CDLL(None).unshare(NEW_USER) != 0


def _no_hidden_memory(limits):
    library = ctypes.CDLL(None)
    segments = library.shmget(0, 1 << 12, 0), library.semget(0, 1, 0)
    return segments == (-1, -1) and library.memfd_create(b"", 0) == -1


def _processes(limits):
    for _ in range(limits.processes + 1):
        try:
            pid = os.fork()
        except OSError:
            return True
        if pid == 0:
            signal.pause()
    return False


_TRIALS = {
    "processor time": _cpu,
    "memory of a process": _memory,
    "open files": _open_files,
    "size of a file": _file_size,
    "files in memory": _files,
    "no network": _network,
    "no privileges": _no_rights,
    "no further namespaces": _no_more_namespaces,
    "no memory outside of processes": _no_hidden_memory,
    "processes": _processes,  # last, because its processes stay until the set ends
}

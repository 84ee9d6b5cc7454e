"""The limits of one rank set in the box, and how each process sets its own limits."""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of a rank set. Each number is for one whole set, unless stated otherwise.

    timeout_s      seconds from the start of its first rank; then the set is ended
    cpu_s          processor seconds of one process
    memory_bytes   all processes and all files in memory together; the framework's own pages, which
                   ranks share, count once
    process_bytes  memory of one process, beyond what the framework needed before the learner's code
    processes      number of processes, and of threads beyond those that the framework starts
    of_framework   number of threads that the framework starts
    open_files     number of open files of one process
    scratch_bytes  all files in the working folder and in the folder for temporary files
    shared_bytes   all files in /dev/shm
    file_bytes     one file
    printed_bytes  output of one rank; if it is more, the set is ended
    kept_bytes     how much of the end of each rank's output is kept
    answer_bytes   the return value of one rank
    apart          True: every rank has its own namespaces, without a common network
    """

    timeout_s: float = 60.0
    cpu_s: int = 120
    memory_bytes: int = 3 << 30
    process_bytes: int = 2 << 30
    processes: int = 64
    of_framework: int = 0
    open_files: int = 512
    scratch_bytes: int = 128 << 20
    shared_bytes: int = 256 << 20
    file_bytes: int = 64 << 20
    printed_bytes: int = 32 << 20
    kept_bytes: int = 1 << 16
    answer_bytes: int = 64 << 20
    apart: bool = False


def keep_to(limits: Limits) -> None:
    """Set this process's own limits. Its children inherit them, and they cannot be raised again."""
    for name, most in (
        (resource.RLIMIT_DATA, data_bytes() + limits.process_bytes),
        (resource.RLIMIT_NPROC, limits.processes + limits.of_framework),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        # With 0, a program that processes dumps would still be started: man 5 core.
        (resource.RLIMIT_CORE, 1),
        (resource.RLIMIT_MEMLOCK, 1 << 16),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        _, hard = resource.getrlimit(name)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(name, (most, most))
    # If this computer still runs out of memory, the system should kill these processes first.
    # This is best effort: every limit is also enforced elsewhere, so failing to set it is harmless.
    with contextlib.suppress(PermissionError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    # The system first asks the process to stop, and ends it a second later, so that the cause can
    # be told from a crash.
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))


def data_bytes() -> int:
    """Return the bytes of this process's private writable memory, as RLIMIT_DATA counts them."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:"))

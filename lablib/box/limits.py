"""How much one rank set may use in the box, and what of it each process keeps to."""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a rank set may use. Every number holds for one set, unless it says otherwise.

    timeout_s      from the start of its first rank; then the set is ended
    cpu_s          processor seconds of one process
    memory_bytes   of all processes and all files in memory together; the framework's own pages,
                   which ranks share, count once
    process_bytes  of one process, beyond what the framework needed before the learner's code
    processes      processes, and threads beyond those that the framework starts
    of_framework   threads that the framework starts
    open_files     of one process
    scratch_bytes  of all files in the working folder and in the folder for temporary files
    shared_bytes   of all files in /dev/shm
    file_bytes     of one file
    printed_bytes  that one rank may print; then the set is ended
    kept_bytes     of what each rank printed: its end
    answer_bytes   of what one rank returns
    apart          every rank in namespaces of its own, without a common network
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
    """Set this process's own limits. They pass to its children and cannot be raised again."""
    for name, most in (
        (resource.RLIMIT_DATA, data_bytes() + limits.process_bytes),
        (resource.RLIMIT_NPROC, limits.processes + limits.of_framework),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_CORE, 1),  # with 0 a program that takes dumps is still started: man 5 core
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
    # Asked to stop a second before it is ended: so the cause can be told from a crash.
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))


def data_bytes() -> int:
    """This process's private memory that can be written: what RLIMIT_DATA counts."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:"))

"""What the keeper observes of a rank set from outside: memory, processes, bytes on its loopback."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import NamedTuple

from lablib.box.limits import Limits
from lablib.box.namespaces import close_each

_NEARLY = 0.95
_LOOK_S = 0.05
_CROWDED = 0.9  # the share of the allowed processes from which the set is ended
# The most that a socket may hold: twice Linux's default net.core.wmem_max.
_SOCKET_BYTES = 416 << 10


class Size(NamedTuple):
    """Size of one process.

    resident_bytes: memory that is not in a file on a disk, with shared pages.
    """

    threads: int
    resident_bytes: int


class Watch:
    """The observations of one rank set by the keeper, its parent.

    pid       number of the set's first process
    limits    the limits of the set
    folders   descriptors of the set's file systems in memory; closed with the watch
    """

    def __init__(self, pid: int, limits: Limits, folders: list[int]):
        self.pid = pid
        self.limits = limits
        self.folders = folders
        self.trusted = {1, os.getpid(), pid}  # these do not run a learner's code
        self.why = ""
        self.files_bytes = self.loopback_bytes = 0
        self.parts: dict[int, int] = {}  # the oldest value first
        self.fullest = 0.0

    def look(self) -> bool:
        """Look once. Return True if the set has to be ended; `why` has the reason."""
        seen = self.glance()
        if not self.why and self._held_bytes(seen) > self.limits.memory_bytes:
            self.why = "oom"
        return bool(self.why)

    def glance(self) -> dict[int, Size]:
        """Record values that are lost when the set ends; return the size of each process."""
        self.loopback_bytes = max(self.loopback_bytes, loopback_bytes(self.pid))
        seen = {pid: size(pid) for pid in running() if pid not in self.trusted}
        threads = sum(one.threads for one in seen.values()) - self.limits.of_framework
        if max(len(seen), threads) >= _CROWDED * self.limits.processes:
            self.why = self.why or "processes"
        self.files_bytes = self._used_bytes()
        return seen

    def _held_bytes(self, seen):
        """Return the bytes that the set holds.

        At first, pages shared with the framework count in each process. If the sum is too large,
        each page is divided among the processes that share it. A mapped file in memory counts
        twice.
        """
        apart_bytes = self.files_bytes + _SOCKET_BYTES * sockets([self.pid, *seen])
        held_bytes = sum(one.resident_bytes for one in seen.values()) + apart_bytes
        if held_bytes > self.limits.memory_bytes:
            held_bytes = self._parts_bytes(seen) + apart_bytes
        return held_bytes

    def _parts_bytes(self, seen):
        """Return the sum of the processes' own parts, as far as known.

        Measuring a part is slow, so each look measures only some processes: first those without a
        value, then those with the oldest values.
        """
        self.parts = {pid: part for pid, part in self.parts.items() if pid in seen}
        until_s = time.monotonic() + _LOOK_S
        for pid in [*(seen.keys() - self.parts.keys()), *self.parts]:
            self.parts.pop(pid, None)  # so that the new value is at the end
            self.parts[pid] = own_part_bytes(pid, seen[pid].resident_bytes)
            if time.monotonic() > until_s:
                break
        return sum(self.parts.values())

    def first_process_ended(self, code: int) -> None:
        """Note that the first process ended without the keeper, most likely for its memory."""
        if code == -9:
            self.why = self.why or "oom"

    def seen(self) -> dict:
        """Return the report for the grader."""
        return {
            "why": self.why,
            "loopback_bytes": self.loopback_bytes,
            "disk_full": self.fullest > _NEARLY,
        }

    def close(self) -> None:
        close_each(self.folders)

    def _used_bytes(self):
        used_bytes = 0
        for folder in self.folders:
            about = os.fstatvfs(folder)
            used = about.f_blocks - about.f_bfree
            used_bytes += used * about.f_frsize
            self.fullest = max(self.fullest, used / about.f_blocks)
        return used_bytes


def running() -> list[int]:
    """Return the numbers of all processes of the box."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def loopback_bytes(pid: int) -> int:
    """Return the bytes, with headers, that the loopback of this process's network has carried.

    Returns 0 if the process has ended. Headers are not subtracted: otherwise a rank could lower the
    sum by sending packets smaller than the average header, such as empty datagrams. Without
    subtraction, each packet increases the sum. The headers of a message of 1 MB or more are below 1
    % of it, because `lo` uses packets of 64 KB.
    """
    for line in _text(pid, "net/dev").splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[0])
    return 0


def sockets(pids: Iterable[int]) -> int:
    """Return the number of sockets of these processes' networks: their data is in no process."""
    networks = {}
    for pid in pids:
        used = _text(pid, "net/sockstat").partition("used ")[2].split("\n")[0]
        networks[_network(pid)] = int(used or 0)
    return sum(networks.values())


def _network(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return pid  # it has ended, or hides: assume that it is alone on its network


def size(pid: int) -> Size:
    """Return the size of the process; all zero if it has ended."""
    told = dict.fromkeys(("Threads", "RssAnon", "RssShmem"), 0)
    for line in _text(pid, "status").splitlines():
        name, _, value = line.partition(":")
        if name in told:
            told[name] = int(value.split()[0])
    return Size(told["Threads"], (told["RssAnon"] + told["RssShmem"]) * 1024)


def own_part_bytes(pid: int, resident_bytes: int) -> int:
    """Return `Size.resident_bytes`, but divide shared pages among the processes that share."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            lines = [line.split() for line in file]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    except PermissionError:
        return resident_bytes  # it hides, so the framework's pages count as its own
    return sum(int(words[1]) * 1024 for words in lines if words[0] in ("Pss_Anon:", "Pss_Shmem:"))


def _text(pid, name):
    try:
        # The process chooses its own name, which may not be UTF-8.
        with open(f"/proc/{pid}/{name}", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # it has ended in the meantime

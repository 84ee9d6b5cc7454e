"""Linux namespaces, by system calls of our own: a set of processes that sees only itself.

See `man 7 namespaces`, `man 7 user_namespaces`, `man 7 pid_namespaces`, `man 2 mount`.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

from lablib.cluster.local.private_network import map_to_itself, raise_loopback

NEW_USER, NEW_MOUNT, NEW_PROCESSES = 0x10000000, 0x00020000, 0x20000000
NEW_NETWORK, NEW_IPC, NEW_NAME = 0x40000000, 0x08000000, 0x04000000
ALL_BUT_USER = NEW_MOUNT | NEW_PROCESSES | NEW_NETWORK | NEW_IPC | NEW_NAME
TEMPORARY = os.sep + "tmp"  # of the box, not of this computer
SHARED_MEMORY = "/dev/shm"
FURNISHED = (TEMPORARY, SHARED_MEMORY)
_READ_ONLY, _NO_SETUID, _NO_DEVICES, REMOUNT, BIND, RECURSIVE = 1, 2, 4, 32, 4096, 16384
PRIVATE = 1 << 18
SAFE = _NO_SETUID | _NO_DEVICES
READ_ONLY = SAFE | _READ_ONLY
_HOST_NAME = b"localhost"  # it can be resolved
_OF_THIS_COMPUTER = (
    "cmdline", "version", "version_signature", "config.gz", "sys/kernel/random/boot_id", "modules",
    "keys", "key-users", "kallsyms", "iomem", "ioports", "interrupts", "partitions", "diskstats",
    "swaps", "timer_list", "sched_debug",
)  # fmt: skip
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_CAPABILITIES_V3 = 0x20080522


def call(name: str, *arguments) -> None:
    """A function of the C library that answers 0. Raises OSError with its errno otherwise."""
    if getattr(_libc(), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _libc():
    return ctypes.CDLL(None, use_errno=True)


def mount(kind: str | None, target: str, flags: int = SAFE, options: str = "", source="none"):
    """Mount a file system of this kind, or with BIND what is at `source`."""
    words = [word.encode() if word else None for word in (source, target, kind)]
    call("mount", *words, ctypes.c_ulong(flags), options.encode() or None)


def unshare_with_a_user(flags: int = ALL_BUT_USER) -> None:
    """Move this single-threaded process into namespaces of its own, as the user that it is.

    The next child is the first process of the new process namespace.
    """
    user, group = os.getuid(), os.getgid()
    call("unshare", NEW_USER | flags)
    map_to_itself("uid_map", user)
    map_to_itself("gid_map", group)


def furnish(scratch_bytes: int, shared_bytes: int) -> None:
    """A loopback, /proc, a folder for temporary files and /dev/shm of this set alone, and a host
    name that every box has."""
    mount(None, "/", RECURSIVE | PRIVATE)
    call("sethostname", _HOST_NAME, len(_HOST_NAME))
    mount("proc", "/proc")
    for folder, nbytes in zip(FURNISHED, (scratch_bytes, shared_bytes)):
        mount("tmpfs", folder, options=f"size={nbytes},nr_inodes=10000,mode=1777")
    raise_loopback()


def cover() -> None:
    """Show nothing in the files of /proc that describe this computer and how it was started.

    After this no process inside can mount a /proc of its own: `man 7 mount_namespaces`.
    """
    for name in _OF_THIS_COMPUTER:
        if os.path.exists(f"/proc/{name}"):
            mount(None, f"/proc/{name}", BIND, source=os.devnull)


def furnished() -> list[int]:
    """Descriptors of the folders in memory; a path would lead somewhere else elsewhere."""
    return [os.open(folder, os.O_PATH) for folder in FURNISHED]


def forbid_more_namespaces() -> None:
    """In a user namespace of its own a process could mount file systems without a limit."""
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0")


def drop_capabilities() -> None:
    """Give up all capabilities, for this process and whatever it starts."""
    header = struct.pack("Ii", _CAPABILITIES_V3, 0)
    call("capset", header, bytes(24))
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def be_unreadable() -> None:
    """Let no process without capabilities look into this one or trace it."""
    call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)


def be_readable() -> None:
    """Undo `be_unreadable`, which children inherit: a rank reads its own /proc/self."""
    call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)


def become(user: int) -> None:
    """From root to a user who owns nothing. RLIMIT_NPROC does not count root's processes."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    be_readable()
    drop_capabilities()


def close_each(descriptors) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def close_all_but(descriptors) -> None:
    """Close every open file but these and the standard three."""
    before = 2
    for descriptor in [*sorted({*descriptors} - {0, 1, 2}), os.sysconf("SC_OPEN_MAX")]:
        os.closerange(before + 1, min(descriptor, sys.maxsize))
        before = descriptor

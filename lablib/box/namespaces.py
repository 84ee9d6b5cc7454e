"""Linux namespaces by the kit's own system calls: a set of processes that sees only itself.

See `man 7 namespaces`, `man 7 user_namespaces`, `man 7 pid_namespaces`, `man 2 mount`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys

from lablib.cluster.local.private_network import map_to_itself, raise_loopback

NEW_USER = 0x10000000
NEW_MOUNT = 0x00020000
NEW_PROCESSES = 0x20000000
NEW_NETWORK = 0x40000000
NEW_IPC = 0x08000000
NEW_NAME = 0x04000000
ALL_BUT_USER = NEW_MOUNT | NEW_PROCESSES | NEW_NETWORK | NEW_IPC | NEW_NAME
TEMPORARY = os.sep + "tmp"  # the box's folder, not this computer's
SHARED_MEMORY = "/dev/shm"
FURNISHED = (TEMPORARY, SHARED_MEMORY)
_READ_ONLY = 1
_NO_SETUID = 2
_NO_DEVICES = 4
REMOUNT = 32
BIND = 4096
RECURSIVE = 16384
PRIVATE = 1 << 18
SAFE = _NO_SETUID | _NO_DEVICES
READ_ONLY = SAFE | _READ_ONLY
_HOST_NAME = b"localhost"  # this name can be resolved
_OF_THIS_COMPUTER = (
    "cmdline", "version", "version_signature", "config.gz", "sys/kernel/random/boot_id", "modules",
    "keys", "key-users", "kallsyms", "iomem", "ioports", "interrupts", "partitions", "diskstats",
    "swaps", "timer_list", "sched_debug",
)  # fmt: skip
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITIES_V3 = 0x20080522


def call(name: str, *arguments) -> None:
    """Call a function of the C library that returns 0. Raise OSError with its errno otherwise."""
    if getattr(_libc(), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _libc():
    return ctypes.CDLL(None, use_errno=True)


def mount(kind: str | None, target: str, flags: int = SAFE, options: str = "", source="none"):
    """Mount a file system of this kind, or, with BIND, the files at `source`."""
    words = [word.encode() if word else None for word in (source, target, kind)]
    call("mount", *words, ctypes.c_ulong(flags), options.encode() or None)


def unshare_with_a_user(flags: int = ALL_BUT_USER) -> None:
    """Move this single-threaded process into its own namespaces; it keeps its user.

    The next child is the first process of the new process namespace.
    """
    user, group = os.getuid(), os.getgid()
    call("unshare", NEW_USER | flags)
    map_to_itself("uid_map", user)
    map_to_itself("gid_map", group)


def furnish(scratch_bytes: int, shared_bytes: int) -> None:
    """Set up a loopback, /proc, a folder for temporary files, /dev/shm and a host name.

    All of them are for this set alone, except for the host name, which all boxes have.
    """
    mount(None, "/", RECURSIVE | PRIVATE)
    call("sethostname", _HOST_NAME, len(_HOST_NAME))
    mount("proc", "/proc")
    for folder, nbytes in zip(FURNISHED, (scratch_bytes, shared_bytes)):
        mount("tmpfs", folder, options=f"size={nbytes},nr_inodes=10000,mode=1777")
    raise_loopback()


def cover() -> None:
    """Hide the files of /proc that describe this computer and how it was started.

    After this no process inside can mount another /proc: `man 7 mount_namespaces`.
    """
    for name in _OF_THIS_COMPUTER:
        if os.path.exists(f"/proc/{name}"):
            mount(None, f"/proc/{name}", BIND, source=os.devnull)


def furnished() -> list[int]:
    """Return descriptors of the folders in memory, because their paths are not valid elsewhere."""
    return [os.open(folder, os.O_PATH) for folder in FURNISHED]


def forbid_more_namespaces() -> None:
    """Forbid more namespaces: in its own user namespace a process could mount without limit."""
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0")


def drop_capabilities() -> None:
    """Give up all capabilities, for this process and all its children."""
    header = struct.pack("Ii", _CAPABILITIES_V3, 0)
    call("capset", header, bytes(24))
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def be_unreadable() -> None:
    """Prevent processes without capabilities from reading or tracing this process."""
    call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)


def be_readable() -> None:
    """Undo `be_unreadable`, which children inherit, because a rank reads its own /proc/self."""
    call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)


def become(user: int) -> None:
    """Change from root to a user who owns nothing: RLIMIT_NPROC does not apply to root."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    be_readable()
    drop_capabilities()
    end_with_the_parent()  # the system forgets this at a change of the user: man 2 prctl


def end_with_the_parent() -> None:
    """Let the system kill this process when its parent ends, even while it imports a framework."""
    call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def close_each(descriptors) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def close_all_but(descriptors) -> None:
    """Close every open file except these and the standard three."""
    before = 2
    for descriptor in [*sorted({*descriptors} - {0, 1, 2}), os.sysconf("SC_OPEN_MAX")]:
        os.closerange(before + 1, min(descriptor, sys.maxsize))
        before = descriptor

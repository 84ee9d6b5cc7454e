"""A network for the cluster alone, on Linux: it has only a loopback, which nobody else uses.

TensorFlow's servers listen on every interface and cannot be told otherwise. Inside a network
namespace "every interface" is the loopback of that namespace: no process outside can reach them,
and their ports cannot collide with others. See `man 7 network_namespaces`, `man 7 user_namespaces`.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP_RUNNING = 0x8914, 0x1 | 0x40


def enter() -> str:
    """Move this single-threaded process into its own network; return "" or why that failed."""
    if not sys.platform.startswith("linux"):
        return f"{sys.platform} has no network namespaces"
    user, group = os.getuid(), os.getgid()
    if _unshare(_CLONE_NEWNET):
        if _unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
            return os.strerror(ctypes.get_errno())
        map_to_itself("uid_map", user)
        map_to_itself("gid_map", group)
    raise_loopback()
    return ""


def _unshare(flags):
    return ctypes.CDLL(None, use_errno=True).unshare(flags)


def map_to_itself(name: str, number: int) -> None:
    """Keep the process's user or group in the user namespace that it has just made.

    name     "uid_map", then "gid_map"
    number   the user's or group's number
    """
    if name == "gid_map":
        _write("/proc/self/setgroups", "deny")  # the kernel requires this before a gid map
    _write(f"/proc/self/{name}", f"{number} {number} 1")


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)


def raise_loopback() -> None:
    """Start the loopback, because it is down in a new network."""
    import fcntl

    request = struct.pack("16sH14x", b"lo", _IFF_UP_RUNNING)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, _SIOCSIFFLAGS, request)

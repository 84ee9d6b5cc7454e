"""The second tier of containment: the same box as bubblewrap's, made by the kit's own system calls.

  python -P processes.py lablib.box.namespace_box FOLDER CONTENTS COMMAND...

FOLDER is an empty folder, CONTENTS a `Contents` as JSON. The command is the first process of the
box.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform

from lablib.box.namespaces import (
    ALL_BUT_USER,
    BIND,
    FURNISHED,
    PRIVATE,
    READ_ONLY,
    RECURSIVE,
    REMOUNT,
    call,
    end_with_the_parent,
    mount,
    unshare_with_a_user,
)
from lablib.cluster.local.private_network import raise_loopback

_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_DETACH = 2
_DEVICES = ("null", "zero", "full", "random", "urandom")
_OWN_BYTES = 64 << 20
# These flags cannot be removed from a mount that belongs to another user: man 7 mount_namespaces.
_KEPT = os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME | os.ST_RELATIME


def main(arguments: list[str]) -> None:
    """Start the box's first process as a child, and end with its exit status."""
    folder, contents, *command = arguments
    end_with_the_parent()
    if os.getuid() == 0:
        call("unshare", ALL_BUT_USER)
    else:
        unshare_with_a_user()
    pid = os.fork()
    if pid == 0:
        end_with_the_parent()
        raise_loopback()
        _build(folder, json.loads(contents))
        _move_into(folder)
        os.execv(command[0], command)
    _, status = os.waitpid(pid, 0)
    os._exit(abs(os.waitstatus_to_exitcode(status)))


def _build(root, contents):
    mount(None, "/", RECURSIVE | PRIVATE)
    mount("tmpfs", root, options=f"size={_OWN_BYTES},mode=755")
    for source, target in contents["shown"]:
        _show(source, root + target)
    for where, to in contents["links"]:
        os.makedirs(os.path.dirname(root + where), exist_ok=True)
        os.symlink(to, root + where)
    os.mkdir(f"{root}/dev")
    for name in _DEVICES:
        open(f"{root}/dev/{name}", "w").close()
        mount(None, f"{root}/dev/{name}", BIND, source=f"/dev/{name}")
    for folder in FURNISHED:
        os.mkdir(root + folder)
        mount("tmpfs", root + folder, options=f"size={_OWN_BYTES},mode=1777")
    os.mkdir(f"{root}/proc")
    mount("proc", f"{root}/proc")


def _show(source, target):
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.exists(target):
            open(target, "w").close()
    mount(None, target, BIND | RECURSIVE, source=source)
    kept = os.statvfs(target).f_flag & _KEPT
    mount(None, target, BIND | REMOUNT | READ_ONLY | kept)


def _move_into(root):
    """Make `root` the root folder (`man 2 pivot_root`), and unmount the old one from its top."""
    os.chdir(root)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."):
        raise OSError(ctypes.get_errno(), "pivot_root")
    call("umount2", b".", _DETACH)
    os.chdir("/")
    mount(None, "/", BIND | REMOUNT | READ_ONLY)

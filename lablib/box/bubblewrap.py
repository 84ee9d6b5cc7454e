"""The first tier of containment: bubblewrap, https://github.com/containers/bubblewrap."""

from __future__ import annotations

import os

from lablib.box.contents import Contents
from lablib.box.namespaces import SHARED_MEMORY, TEMPORARY

_OWN_BYTES = 64 << 20  # for files of the keeper, which writes none


def arguments(bwrap: str, inside: Contents, command: list[str]) -> list[str]:
    """Return the command line that runs `command` in the box.

    Start it with `inside.environment` only, because bubblewrap's own environment can be read in the
    box, in /proc/1/environ.
    """
    spaces = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    if os.getuid() == 0:
        # A user namespace would let root's box belong to root, and limits on processes do not apply
        # to root. The keeper needs these capabilities once, to become another user; then it gives
        # them up.
        spaces += ["--cap-drop", "ALL"]
        for capability in ("CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID"):
            spaces += ["--cap-add", capability]
    else:
        spaces.append("--unshare-user")
    shown = [word for source, target in inside.shown for word in ("--ro-bind", source, target)]
    # Without this, only root could enter the folders that bubblewrap makes on the way to a target.
    folders = [word for folder in inside.folders for word in ("--perms", "0755", "--dir", folder)]
    links = [word for where, to in inside.links for word in ("--symlink", to, where)]
    return [
        bwrap, *spaces, "--die-with-parent", "--new-session", *folders, *shown, *links,
        "--dev", "/dev", "--proc", "/proc",
        "--size", str(_OWN_BYTES), "--perms", "1777", "--tmpfs", TEMPORARY,
        "--size", str(_OWN_BYTES), "--perms", "1777", "--tmpfs", SHARED_MEMORY,
        "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/", "--", *command,
    ]  # fmt: skip

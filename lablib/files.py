"""Where the kit keeps its user's files, and how it writes a file: completely, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from functools import partial
from pathlib import Path

from lablib.errors import LabError

ROOT = Path(__file__).resolve().parents[1]


def home(root: Path = ROOT) -> Path:
    """Return the folder `.lablib`: logs of failed runs, points, which labs were copied.

    root   a folder with the kit; `.lablib` is in it. The environment variable LABLIB_HOME names
           another folder for the kit that runs.
    """
    elsewhere = os.environ.get("LABLIB_HOME") if root == ROOT else None
    return Path(elsewhere or root / ".lablib")


def write_completely(path: str | os.PathLike, content: bytes | str, mode: int = 0o666) -> Path:
    """Write `content` (text as UTF-8) to `path`, replacing what was there, in one move.

    mode   who may read and write it, as in `os.open`; the process's umask takes away from it

    Raises LabError naming the path when it cannot be written; what was there is then untouched.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    # In the same folder, because a file can only be moved in one piece within one disk.
    spare = path.parent / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        with open(spare, "xb", opener=partial(os.open, mode=mode)) as file:
            file.write(data)
        os.replace(spare, path)
    except OSError as error:
        raise LabError(
            "A file cannot be written.",
            saw=f"{path}: {error.strerror or error}",
            do="choose a path in a folder that exists, where you may write and the disk has room",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            spare.unlink()
    return path

"""Where the kit stores its users' files, and how it writes a file: completely or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from functools import partial
from pathlib import Path

from lablib.errors import LabError

ROOT = Path(__file__).resolve().parents[1]


def home(root: Path = ROOT) -> Path:
    """Return the folder `.lablib`, with logs of failed runs, points and the list of copied labs.

    root   the folder of the kit, which contains `.lablib`. For the kit that is running, the
           environment variable LABLIB_HOME can name another folder.
    """
    elsewhere = os.environ.get("LABLIB_HOME") if root == ROOT else None
    return Path(elsewhere or root / ".lablib")


def write_completely(path: str | os.PathLike, content: bytes | str, mode: int = 0o666) -> Path:
    """Write `content` (text as UTF-8) to `path`; replace an existing file in a single step.

    mode   who may read and write the file, as in `os.open`; the process's umask restricts it

    Raises LabError with the path if the file cannot be written. The old file is then unchanged.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    # In the same folder, because a rename is atomic only within one file system.
    spare = path.parent / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        with open(spare, "xb", opener=partial(os.open, mode=mode)) as file:
            file.write(data)
        os.replace(spare, path)
    except OSError as error:
        raise LabError(
            "The file cannot be written.",
            saw=f"{path}: {error.strerror or error}",
            do="choose a folder that exists, that you may write to, and whose disk is not full",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            spare.unlink()
    return path

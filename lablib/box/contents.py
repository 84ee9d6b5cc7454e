"""The contents of the box: the interpreter, its packages and the library, all read-only.

Nothing else is in it: no home folder, no course, no submission, no environment of the grader.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from lablib.box.namespaces import FURNISHED, TEMPORARY
from lablib.errors import LabError

ROOT = Path(__file__).resolve().parents[2]
_SYSTEM = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64")
_PREFIXES_OF_MANY = ("/usr", "/usr/local", "/")
_FROM_ETC = ("ld.so.cache", "localtime")
_NAME = "learner"
_ASIDE = "/aside"


@dataclass(frozen=True)
class Contents:
    """The files and the environment of the box.

    shown        (path on this computer, path in the box), outermost first
    links        (path of the link, its target)
    environment  all environment variables
    python       the path of the interpreter in the box
    """

    shown: list[tuple[str, str]]
    links: list[tuple[str, str]]
    environment: dict[str, str]
    python: str

    @property
    def path(self) -> list[str]:
        """Return `sys.path` of the box's processes."""
        shown = [target for _, target in self.shown]
        inside = map(in_the_box, sys.path)
        ours = [entry for entry in inside if any(map(Path(entry).is_relative_to, shown))]
        return [in_the_box(ROOT), *ours]

    @property
    def folders(self) -> list[str]:
        """Return the folders to make on the way to shown paths, outermost first."""
        shown = [Path(target) for _, target in self.shown]
        above = {str(folder) for target in shown for folder in target.parents}
        inside = {name for name in above if any(map(Path(name).is_relative_to, shown))}
        return sorted(above - inside - {os.sep})


def in_the_box(path: str | os.PathLike) -> str:
    """Return the path in the box for `path` on this computer.

    It is the same, except for paths inside of folders that the box has of its own.

    >>> in_the_box("kit"), in_the_box(f"{TEMPORARY}/kit") == f"{_ASIDE}{TEMPORARY}/kit"
    ('kit', True)
    """
    hidden = any(map(Path(path).is_relative_to, FURNISHED))
    return f"{_ASIDE}{path}" if hidden else str(path)


def contents(etc: Path, user: int) -> Contents:
    """Return the contents of a box for this Python.

    etc    a folder that is filled with the few files of the box's /etc
    user   number of the user to whom the box's processes belong
    """
    _fill(etc, user)
    links = [(path, os.readlink(path)) for path in _SYSTEM if os.path.islink(path)]
    shown = [(path, path) for path in _SYSTEM if os.path.isdir(path) and not os.path.islink(path)]
    shown += [(os.path.realpath(path), in_the_box(path)) for path in _of_python()]
    shown += [(str(ROOT / part), in_the_box(ROOT / part)) for part in ("lablib", "datasets")]
    shown += [(str(etc), "/etc"), ("/sys/devices/system/cpu", "/sys/devices/system/cpu")]
    return Contents(
        sorted({pair for pair in shown if os.path.exists(pair[0])}, key=lambda pair: pair[1]),
        links,
        _environment(),
        in_the_box(sys.executable),
    )


def _of_python():
    """Return the interpreter's own folders; of a prefix with other programs, only parts."""
    paths = {sys.prefix, sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]}
    paths |= {_part(prefix, "lib") for prefix in (sys.base_prefix, sys.base_exec_prefix)}
    paths |= {_part(_prefix(path), path) for path in _way_to_python()}
    paths -= set(_PREFIXES_OF_MANY)
    if any(path == str(Path.home()) or path == os.sep for path in paths):
        raise LabError(
            "The sandbox would show your home folder, because this Python is directly in it.",
            saw=", ".join(sorted(paths)),
            do="make the environment in a separate folder: python3 -m venv .venv",
        )
    return paths


def _part(prefix, path):
    """Return the part of a prefix to show: this path of a shared prefix, or all of another one."""
    return os.path.join(prefix, path) if prefix in _PREFIXES_OF_MANY else prefix


def _prefix(python):
    return os.path.dirname(os.path.dirname(python))


def _way_to_python():
    """Yield the paths from the environment's python, link by link, to the interpreter."""
    path = sys.executable
    yield path
    while os.path.islink(path):
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        yield path


def _fill(etc, user):
    for name in _FROM_ETC:
        if os.path.exists(f"/etc/{name}"):
            (etc / name).write_bytes(Path("/etc", name).read_bytes())
    (etc / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
    (etc / "passwd").write_text(f"{_NAME}:x:{user}:{user}::{TEMPORARY}:/nonexistent\n")
    (etc / "group").write_text(f"{_NAME}:x:{user}:\n")


def _environment():
    from lablib.cluster.local.launch import ONE_THREAD, QUIET

    return (
        QUIET
        | ONE_THREAD
        | {
            "PATH": os.path.dirname(in_the_box(sys.executable)),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": TEMPORARY,
            "USER": _NAME,
            "LOGNAME": _NAME,
            "LANG": "C.UTF-8",
        }
    )

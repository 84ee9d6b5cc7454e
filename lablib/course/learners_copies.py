"""The learner's own copies of the labs: copied once, never overwritten, restored on request."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain, count
from pathlib import Path

from lablib.computer import processes
from lablib.computer.facts import ROOT
from lablib.errors import LabError
from lablib.files import home, write_completely


def bring(root: Path = ROOT) -> list[str]:
    """Copy new labs from labs/ to my_labs/; return messages for the learner.

    A copy is never overwritten. If a lab has changed since the copy was made, a message says how to
    get the new lab. Raises LabError if my_labs/ cannot be written.
    """
    seen, news = _read_record(root), []
    with _writing(root):
        for lab in _labs(root):
            mine = root / "my_labs" / lab.name
            if not mine.exists():
                _copy(lab, mine)
                seen[lab.name] = _digest(lab)
            elif seen.setdefault(lab.name, _digest(lab)) != _digest(lab):
                news.append(_is_newer(lab))
        for picture in _pictures(root):
            if not _beside(picture, root).exists():
                _copy(picture, _beside(picture, root))
        _write_record(root, seen)
    return news


def reset(name: str, root: Path = ROOT, *, exercise: str = "") -> str:
    """Restore one lab from labs/ and keep the old copy beside it; return what was done, in words.

    name       "03", "3" or the notebook's whole name
    exercise   restore only the cells of this exercise, such as "3.2"

    Raises LabError if there is no such lab, or no such exercise in it.
    """
    lab = _find(name, root)
    mine = root / "my_labs" / lab.name
    restored = _with_exercise(mine, lab, exercise) if exercise and mine.exists() else ""
    with _writing(root):
        kept = ""
        if mine.exists() and _digest(mine) != _digest(lab):
            kept = _unused_name(mine)
            _copy(mine, mine.with_name(kept))  # it stays here, too, until the fresh one is written
        if restored:
            write_completely(mine, restored)
        else:
            _copy(lab, mine)
            for picture in _pictures(root):
                _copy(picture, _beside(picture, root))
            _write_record(root, _read_record(root) | {lab.name: _digest(lab)})
    what = f"exercise {exercise} of my_labs/{lab.name}" if restored else f"my_labs/{lab.name}"
    return f"Restored {what}." + (f" Your version is now my_labs/{kept}." if kept else "")


def _unused_name(mine):
    """Return a name with the time, for a copy that replaces no other copy of the same second."""
    stem = f"{mine.stem}.{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    names = (f"{stem}{more}.ipynb" for more in chain([""], (f"-{n}" for n in count(2))))
    return next(name for name in names if not mine.with_name(name).exists())


def _with_exercise(mine, lab, exercise):
    """Return the learner's notebook with the original cells of one exercise."""
    try:
        book, fresh = (json.loads(path.read_text("utf-8")) for path in (mine, lab))
        cells = book["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError("Your notebook cannot be read.", saw=f"{mine}: {error}",
                       do="restore the whole lab: omit the exercise") from None  # fmt: skip
    ids = re.compile(rf"exercise-{re.escape(exercise.replace('.', '-'))}(-[a-z])?")
    came = {c["id"]: c for c in fresh["cells"] if ids.fullmatch(c.get("id", ""))}
    if not came:
        raise LabError("There is no such exercise in this lab.", saw=repr(exercise),
                       do="give its number, such as 3.2")  # fmt: skip
    there = {cell.get("id") for cell in cells if isinstance(cell, dict)}
    if lost := sorted(came.keys() - there):
        raise LabError("Your notebook no longer has the exercise's cell.", saw=", ".join(lost),
                       do="restore the whole lab: omit the exercise")  # fmt: skip
    book["cells"] = [came.get(cell.get("id"), cell) for cell in cells]
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"


def open_jupyter(browser: bool, port: int | None = None, root: Path = ROOT) -> None:
    """Replace this process by JupyterLab with the course page. It does not return.

    So JupyterLab has the terminal and receives Ctrl-C.
    """
    if find_spec("jupyterlab") is None:
        raise ModuleNotFoundError("no JupyterLab", name="jupyterlab")  # the caller explains it
    command = jupyter_command(browser, port, root)
    _ask_nothing()
    os.chdir(root / "my_labs")
    sys.stdout.flush()
    os.execve(command[0], command, processes.environment())


def _ask_nothing(prefix: Path = Path(sys.prefix)) -> None:
    """Turn off JupyterLab's question about news, which would cover the lab.

    This changes only the default of this environment. The user's own settings stay.
    """
    path = prefix / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    if path.exists():
        return
    chosen = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}
    with contextlib.suppress(OSError):  # then Jupyter asks, which breaks nothing
        path.parent.mkdir(parents=True, exist_ok=True)
        write_completely(path, json.dumps(chosen))


def jupyter_command(browser: bool, port: int | None = None, root: Path = ROOT) -> list[str]:
    """Return the command for JupyterLab, which always listens on the loopback interface only."""
    command = [sys.executable, "-P", "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.root_dir={root / 'my_labs'}", "--log-level=WARN"]
    command += ["--ServerApp.jpserver_extensions=lablib.course.jupyter_extension=True"]
    command += ["--LabApp.default_url=/course"]
    # No call to the network.
    command += ["--LabApp.news_url=None"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    if port is not None:
        command.append(f"--ServerApp.port={port}")
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # Jupyter refuses to run as root without it
    return command


def has_display(environment=os.environ, system: str = sys.platform) -> bool:
    """Return whether a browser can open a window here, which it cannot do over plain ssh.

    >>> has_display({"DISPLAY": ":0"}, "linux"), has_display({}, "linux"), has_display({}, "darwin")
    (True, False, True)
    """
    if system == "darwin":
        return "SSH_CONNECTION" not in environment
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def _is_newer(lab):
    return (
        f"There is a newer {lab.name}. Your copy was not changed. To get the new lab and keep your "
        f"copy under another name: python -m lablib reset {lab.stem.partition('_')[0]}"
    )


def _find(name, root):
    for lab in _labs(root):
        if name.removesuffix(".ipynb") == lab.stem or name.zfill(2) == lab.stem.partition("_")[0]:
            return lab
    raise LabError(
        "There is no such lab.",
        saw=repr(name),
        do="choose one of: " + ", ".join(lab.stem for lab in _labs(root)),
    )


def _labs(root) -> list[Path]:
    labs = sorted((root / "labs").glob("*.ipynb"))
    if not labs:
        raise LabError(
            "The labs are missing.",
            saw=f"no notebook in {root / 'labs'}",
            do="restore them: git checkout -- labs",
        )
    return labs


def _pictures(root) -> Iterator[Path]:
    return (path for path in sorted((root / "labs" / "img").rglob("*")) if path.is_file())


def _beside(picture, root):
    return root / "my_labs" / picture.relative_to(root / "labs")


def _copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.copyfile(source, part)
    part.replace(target)  # whole or not at all, whatever interrupts the copy


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _record(root):
    return home(root) / "labs.json"


def _read_record(root) -> dict[str, str]:
    """Return name of a lab -> digest of the version from which the learner's copy was made."""
    try:
        return json.loads(_record(root).read_text())
    except (OSError, ValueError):
        return {}


def _write_record(root, seen):
    _record(root).parent.mkdir(parents=True, exist_ok=True)
    _record(root).write_text(json.dumps(seen, indent=1))


@contextlib.contextmanager
def _writing(root):
    """Raise a failure to write as a LabError."""
    try:
        yield
    except OSError as error:
        raise LabError(
            "Your copies of the labs cannot be written.",
            saw=f"{error.filename or root / 'my_labs'}: {error.strerror}",
            do="free some space, or clone the repository into a folder that you may write to",
        ) from error

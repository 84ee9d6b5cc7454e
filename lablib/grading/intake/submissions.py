"""Find the submissions in a folder, as learning platforms export them, and whose each is.

Each entry of the folder is one submission: a notebook, or a folder that contains one.

    jane.ipynb   jane/03_data_parallelism.ipynb   jane/lab03/x.ipynb         by hand, nbgrader
    doejane_4711_90210_03_data_parallelism-2.ipynb   doejane_LATE_4711_...   Canvas
    Jane Doe_4711_assignsubmission_file_/x.ipynb                             Moodle
    Lab 03_jdoe_attempt_2026-03-01-12-30-00_x.ipynb                          Blackboard

Nothing outside the folder is read: links, FIFOs and devices are refused.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from lablib.errors import LabError
from lablib.grading.intake import submission_names
from lablib.grading.intake.notebook_file import MOST_BYTES

HANDED_IN = "handed in"
MISSING = "missing"
REFUSED = "refused"
UNREADABLE = "unreadable"
_DEEPEST, _MOST_FILES = 4, 2000
_NOT_SUBMISSIONS = {"index.html", "__MACOSX", "Thumbs.db"}
_ASIDE = (".csv", ".yaml", ".yml", ".toml")


@dataclass(frozen=True)
class Submission:
    """One entry of the folder.

    id       the learner; each is different, and can be written as UTF-8
    file     the notebook, relative to the folder; "" if there is none to read
    state    HANDED_IN, or why there is nothing to read
    reason   more about the state
    user     the platform's number of the learner, such as Canvas's ID; or ""
    late     True if the platform has marked it as late
    when     when it was handed in, according to its name or its file
    notes    what readers of the grade should know
    """

    id: str
    file: str = ""
    state: str = HANDED_IN
    reason: str = ""
    user: str = ""
    late: bool = False
    when: datetime | None = None
    notes: tuple[str, ...] = field(default=())


def find(folder: Path, lab: str) -> list[Submission]:
    """Return all submissions in `folder`, by id. Raises LabError if there is no such folder.

    lab   "03": if a learner has several notebooks, one with the lab's number is preferred
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise LabError(
            "The folder of submissions cannot be read.",
            saw=f"{folder}: {error.strerror}",
            do="name a folder that has one notebook or one folder for each learner",
        ) from None
    learners: dict[tuple[str, str], list[tuple[submission_names.Named, Submission]]] = {}
    for entry in entries:
        if not _is_left_out(entry):
            named = submission_names.named(entry.name)
            found = _entry(entry, folder, named, lab)
            learners.setdefault(named.who, []).append((named, found))
    ids = submission_names.ids({who: several[0][0] for who, several in learners.items()})
    chosen = (_renamed(_the_last(several, lab), ids[who]) for who, several in learners.items())
    return sorted(chosen, key=lambda one: one.id)


def read(folder: Path, submission: Submission) -> bytes:
    """The notebook's bytes. Raises OSError when it is no plain file, or has grown too large."""
    # Not followed, and not waited for: it may have become a link or a FIFO since it was found.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(folder / submission.file, flags)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        return file.read(MOST_BYTES + 1)


def left_out(folder: Path) -> list[str]:
    """Return the names of entries that are not submissions, such as a list of the class."""
    names = [entry.name for entry in os.scandir(folder) if _is_left_out(entry)]
    return sorted(map(submission_names.printable, names))


def _is_left_out(entry):
    if _is_junk(entry.name):
        return True
    name = entry.name.lower()
    beside = name.startswith("readme") and not name.endswith(".ipynb") or name.endswith(_ASIDE)
    return beside and entry.is_file(follow_symlinks=False)


def _is_junk(name):
    """Return whether it is a file that systems and editors leave in folders.

    A learner's notebook may have a name that begins with a dot. macOS's own files begin with "._".
    """
    hidden = name.startswith((".", "~$")) and not name.lower().endswith(".ipynb")
    return hidden or name.startswith("._") or name in _NOT_SUBMISSIONS


def _renamed(found, identity):
    if found.id == identity:
        return found
    note = f"another submission has the same name, {found.id}, or one that looks the same"
    return replace(found, id=identity, notes=(*found.notes, note))


def _entry(entry, folder, named, lab):
    found = Submission(named.id, user=named.user, late=named.late, when=named.when)
    try:
        return _looked_at(found, entry, folder, lab)
    except OSError as error:  # it may not be read, or is gone meanwhile
        return replace(found, state=UNREADABLE, reason=error.strerror or str(error))


def _looked_at(found, entry, folder, lab):
    kind = _kind(entry)
    if kind == "folder":
        return _in_folder(found, Path(entry.path), folder, lab)
    if kind != "file":
        return replace(found, state=REFUSED, reason=f"{kind}: not read")
    if not entry.name.lower().endswith(".ipynb"):
        suffix = submission_names.printable(os.path.splitext(entry.name)[1]) or "no suffix"
        return replace(found, state=UNREADABLE, reason=f"not a notebook ({suffix})")
    return _file(found, Path(entry.path), folder)


def _kind(entry):
    mode = entry.stat(follow_symlinks=False).st_mode
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "a symbolic link",
             stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "a device")


def _file(found, path, folder):
    status = path.lstat()
    when = found.when or _modified(status)
    found = replace(found, file=str(path.relative_to(folder)), when=when)
    if status.st_size > MOST_BYTES:
        reason = f"the file is larger than {MOST_BYTES // 2**20} MB"
        return replace(found, state=UNREADABLE, reason=reason)
    return found


def _modified(status):
    try:
        return datetime.fromtimestamp(int(status.st_mtime))
    except (OverflowError, ValueError):  # a year that no calendar has
        return None


def _in_folder(found, path, folder, lab):
    notebooks, refused = [], []
    for entry in _walk(path):
        if entry.name.lower().endswith(".ipynb"):
            (notebooks if _kind(entry) == "file" else refused).append(entry)
    if not notebooks:
        if refused:
            return replace(found, state=REFUSED, reason=f"{_kind(refused[0])}: not read")
        return replace(found, state=MISSING, reason="no notebook in the folder")
    chosen = max(notebooks, key=lambda entry: _preferred(entry.name, lab, entry.path))
    found = _file(found, Path(chosen.path), folder)
    if len(notebooks) > 1:
        shown = submission_names.printable(os.path.relpath(chosen.path, path))
        found = replace(found, notes=(f"there are {len(notebooks)} notebooks; graded: {shown}",))
    return found


def _walk(folder, depth=0) -> Iterator[os.DirEntry]:
    """Yield the files in a folder, without following links or entering hidden folders."""
    entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    for entry in entries[:_MOST_FILES]:
        if _is_junk(entry.name):
            continue
        if not entry.is_dir(follow_symlinks=False):
            yield entry
        elif depth < _DEEPEST:
            yield from _walk(entry.path, depth + 1)


def _preferred(name, lab, path):
    """Return a key to choose one of several notebooks, so that the choice is always the same.

    It prefers the lab's number, then the latest attempt, then the least depth, then the name.
    """
    title, again = submission_names.attempt(os.path.splitext(name)[0])
    about = re.search(rf"(?<!\d)0*{int(lab)}(?!\d)", title) is not None
    return about, again, -path.count(os.sep), os.fsencode(name)


def _the_last(several, lab):
    """Return the last attempt of a learner, and prefer attempts that can be read."""

    def order(pair):
        named, found = pair
        attempt = named.when.isoformat() if named.when else ""
        preferred = _preferred(os.path.basename(found.file), lab, found.file)
        return found.state == HANDED_IN, attempt, named.again, preferred

    _, last = max(several, key=order)
    if len(several) > 1:
        name = submission_names.printable(last.file) or last.reason
        note = f"there are {len(several)} submissions; graded: {name}"
        last = replace(last, notes=(*last.notes, note))
    return last

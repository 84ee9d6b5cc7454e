"""Find out whose submission it is from the name of its file or folder, as platforms write it."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

_LONGEST_ID = 80
# The part before `mark` comes from the platform; the rest from the learner, who may write anything.
_PLATFORMS = {
    "Canvas": r"(?P<id>[a-z0-9-]+)(?P<late>_LATE)?_(?P<user>\d+)(?P<mark>_\d+_)(?P<rest>.+)",
    "Moodle": r"(?P<id>.+?)_(?P<user>\d+)(?P<mark>_assignsubmission_)(file|onlinetext)_?"
    r"(?P<rest>.*)",
    "Blackboard": r".+?_(?P<id>[^_]+)(?P<mark>_attempt_)(?P<when>\d{4}(-\d\d){5})"
    r"(_(?P<rest>.+)|\.\w+)",
}
# Letters of other alphabets that look like Latin ones.
_LOOK_LATIN = str.maketrans(
    "аеіјорсухѕһԁӏԛԝАВЕЅІЈКМНОРСТХУοναιΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeijopcyxshdlqwABESIJKMHOPCTXYovaiABEZHIKMNOPTYX",
)
_BLANK = re.compile("[\u115f\u1160\u2800\u3164\uffa0]")  # letters that show nothing
_WITHOUT_WIDTH = re.compile("[\u034f\u17b4\u17b5\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# os.path.splitext finds none in "..ipynb".
_SUFFIX = re.compile(r"\.(ipynb|zip|pdf|py)$", re.IGNORECASE)
_AGAIN = re.compile(r"[-( ](\d+)\)?$")  # -2 (Canvas), (2) (browsers)


@dataclass(frozen=True)
class Named:
    """The information in the name of an entry.

    id      the id to show; `who` is the same for the same learner, and for nobody else
    title   the notebook's title, without the number of the attempt, which is `again`
    """

    id: str
    who: tuple[str, str]
    user: str = ""
    late: bool = False
    when: datetime | None = None
    title: str = ""
    again: int = 0


def named(name: str) -> Named:
    """Return the information in this name."""
    rest = _SUFFIX.sub("", name)
    found = [(match.start("mark"), platform, match) for platform, pattern in _PLATFORMS.items()
             if (match := re.fullmatch(pattern, name, re.ASCII))]  # fmt: skip
    if not found:
        title, again = attempt(rest)
        return Named(printable(rest)[:_LONGEST_ID], ("", rest), title=title, again=again)
    at, platform, match = min(found)
    parts = match.groupdict()
    user = parts.get("user") or ""
    title, again = attempt(os.path.splitext(parts["rest"] or "")[0])
    return Named(
        printable(parts["id"])[:_LONGEST_ID], (platform, user or name[:at]), user,
        bool(parts.get("late")), _time(parts.get("when") or ""), title, again,
    )  # fmt: skip


def _time(text):
    try:
        return datetime.strptime(text, "%Y-%m-%d-%H-%M-%S")
    except ValueError:
        return None


def ids(learners: Mapping[tuple[str, str], Named]) -> dict[tuple[str, str], str]:
    """Return an id for each learner. If two names look alike, each gets a different mark."""
    times = Counter(look(one.id) for one in learners.values())
    given = {}
    for who, one in sorted(learners.items()):
        mark = one.user or hashlib.sha256(os.fsencode(who[1])).hexdigest()[:8]
        identity = one.id if times[look(one.id)] == 1 else f"{one.id} {mark}"
        while identity in given.values():
            identity += "+"
        given[who] = identity
    return given


def attempt(title: str) -> tuple[str, int]:
    """Split a title from the number that a platform or a browser gave to a further attempt.

    >>> attempt("lab03-2"), attempt("lab03")
    (('lab03', 2), ('lab03', 0))
    """
    match = _AGAIN.search(title)
    return (title[: match.start()], int(match[1][:9])) if match else (title, 0)


def look(text: str) -> str:
    """Return a key that is equal for texts that look the same to readers.

    >>> look("Jos\\u00e9") == look("Jose\\u0301"), look("jane.") == look("jane")
    (True, True)
    """
    shown = _WITHOUT_WIDTH.sub("", unicodedata.normalize("NFKC", text)).translate(_LOOK_LATIN)
    shown = _BLANK.sub(" ", shown)
    return " ".join(shown.split()).rstrip(" .")


def composed(text: str) -> str:
    """Return the text in normal form C, in which ids are written; people may type another form."""
    return unicodedata.normalize("NFC", text)


def printable(name: str) -> str:
    """Return a file's name as one line of text that can be written anywhere.

    >>> printable("a\\nb"), printable(os.fsdecode(b"\\xff"))
    ('a b', '\\\\xff')
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else " " for c in composed(text))
    return " ".join(text.split()) or "_"

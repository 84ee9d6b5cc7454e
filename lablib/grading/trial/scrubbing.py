"""Remove private data of the grader's computer from texts for learners.

These are absolute paths, the host's name, and the kernel's command line. A learner's program may
have read them and put them into its values or errors.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
from functools import cache
from pathlib import Path

from lablib.computer.facts import ROOT

_NOT_SHOWN = "..."
# A path in quotes may hold spaces. In a text that is quoted itself, a path may follow "\\n".
_QUOTED = re.compile(r"""(?P<quote>['"])(?:/[^/'"\n]+)+/(?P<name>[^/'"\n]*)(?P=quote)""")
_BARE = re.compile(r"(?:(?<![\w./~-])|(?<=\\[nrt]))(?:/[\w.+@~%-]+)+/(?P<name>[\w.+@~%-]*)")
_FILE_ADDRESS = re.compile(r"\bfile://(?=/)")
_LEAST_LINE = 8  # a shorter one is no command line
# JSON may write a slash as "\\/", an address as "%2F".
_SLASH = r"(?:\\?/|%2F)+"


def scrubbed(text: str) -> str:
    """Replace each absolute path by its last part, and the computer's own data by "...".

    >>> scrubbed('File "/srv/kit/lablib/x.py", line 3; 2 samples/s, https://example.org/a/b')
    'File "x.py", line 3; 2 samples/s, https://example.org/a/b'
    """
    for words in _of_this_computer():
        text = words.sub(_NOT_SHOWN, text)
    text = _folders_of_the_kit().sub("/...", text)
    text = _QUOTED.sub(r"\g<quote>\g<name>\g<quote>", _FILE_ADDRESS.sub("", text))
    return _BARE.sub(r"\g<name>", text)


@cache
def _of_this_computer() -> tuple[re.Pattern[str], ...]:
    lines = []
    for name in ("cmdline", "version"):
        with contextlib.suppress(OSError):
            lines.append(Path("/proc", name).read_text(errors="replace").strip())
    told = [re.escape(line) for line in lines if len(line) >= _LEAST_LINE]
    host = socket.gethostname()
    if host and host != "localhost":
        told.append(rf"(?<!\w){re.escape(host)}(?!\w)")
    return tuple(re.compile(words, re.IGNORECASE) for words in told)


@cache
def _folders_of_the_kit() -> re.Pattern[str]:
    """The patterns above miss a path that has, for example, a bracket in a folder's name."""
    folders = {*map(Path, (ROOT, sys.prefix, sys.base_prefix)), Path.home()}
    paths = [_SLASH + _SLASH.join(map(re.escape, folder.parts[1:]))
             for folder in sorted(folders, reverse=True) if len(folder.parts) > 2]  # fmt: skip
    return re.compile("|".join(paths) or "$^", re.IGNORECASE)

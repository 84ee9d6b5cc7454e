"""Describe an exception while it is still at hand, on the rank that raised it.

Everything is decided by the exception's type, its error number, and the code that raised it. The
text of an exception is for people: no decision depends on it.
"""

from __future__ import annotations

import errno
import traceback

from lablib import frameworks
from lablib.cluster.engine import messages
from lablib.errors import NOT_ATTEMPTED
from lablib.frameworks.refusals import ServerNotStarted
from lablib.record.learners_code import is_learners

_SENDERS = tuple(sender for framework in frameworks.EVERY for sender in framework.senders)
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


class ResultCannotTravel(Exception):
    """The function returned something that cannot be sent; `frames` is the function's own line."""

    def __init__(self, why, function):
        super().__init__(str(why))
        code = getattr(function, "__code__", None)
        self.frames = code and [[code.co_filename, code.co_firstlineno, code.co_name]]


def cause_of(error: BaseException) -> str:
    """Return why the rank failed: one of `messages.CAUSES`.

    >>> cause_of(MemoryError()), cause_of(OSError(errno.ENOSPC, "full")), cause_of(ValueError())
    ('memory', 'disk', 'raised')
    """
    causes = [
        (SystemExit, messages.LEFT),
        (ResultCannotTravel, messages.UNSENDABLE),
        (ServerNotStarted, messages.SERVER),
        (_out_of_memory(), messages.MEMORY),
    ]
    if isinstance(error, OSError) and error.errno in _FULL:
        return messages.DISK
    if isinstance(error, NotImplementedError) and _raised_by_a_starter(error):
        return messages.UNWRITTEN
    return next((cause for kinds, cause in causes if isinstance(error, kinds)), messages.RAISED)


def is_echo(error: BaseException, waiting: bool) -> bool:
    """Return True if the error looks like what a rank sees when another rank has died.

    waiting   the rank was waiting in a message when the error was raised
    """
    if isinstance(error, _lost_peer()):
        return True
    return isinstance(error, RuntimeError) and (waiting or _raised_by_a_message(error))


def learners_frames(error: BaseException) -> list[list]:
    """Return [file, line, function] of each of the learner's frames, the innermost last."""
    frames = traceback.extract_tb(error.__traceback__)
    return [[f.filename, f.lineno, f.name] for f in frames if is_learners(f.filename)]


def _out_of_memory():
    kinds = [kind for framework in frameworks.EVERY for kind in framework.out_of_memory()]
    return MemoryError, *kinds


def _lost_peer():
    kinds = [kind for framework in frameworks.EVERY for kind in framework.lost_peer()]
    return ConnectionError, *kinds


def _frames(error):
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def _raised_by_a_starter(error):
    """The code of an exercise as learners get it holds the text that marks it."""
    return any(NOT_ATTEMPTED in frame.f_code.co_consts for frame in _frames(error))


def _raised_by_a_message(error):
    """True if C++ raised it below our recorder or below the torch modules that send messages."""
    frames = _frames(error)
    return bool(frames) and frames[-1].f_globals.get("__name__", "").startswith(_SENDERS)

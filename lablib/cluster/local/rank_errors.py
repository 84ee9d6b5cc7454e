"""Describe an exception on the rank that raised it, where the exception object still exists.

All decisions depend on the exception's type, its error number, and the code that raised it. No
decision depends on its text, which is meant for people.
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
    """Return True if the error looks like a consequence of another rank's death.

    waiting   True: the rank was waiting in a message when the error was raised
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
    """Return True if the error comes from an unsolved exercise: its code contains NOT_ATTEMPTED."""
    return any(NOT_ATTEMPTED in frame.f_code.co_consts for frame in _frames(error))


def _raised_by_a_message(error):
    """Return True if C++ code raised it, called by the recorder or torch's sending modules."""
    frames = _frames(error)
    return bool(frames) and frames[-1].f_globals.get("__name__", "").startswith(_SENDERS)

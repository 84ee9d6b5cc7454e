"""The messages between the kernel and a rank: a job for the rank, and the reports that it may send.

`live` in `cluster/local/rank.py` writes the reports; but the learner's code runs beside it and may
write them, too. So `read` accepts only these fields, types and bounds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from lablib.frameworks.rank_config import RankConfig
from lablib.record.bounds import Uncosted
from lablib.record.rows import AnyRow, check_rows

# Why a rank failed. The rank decides this from the exception itself, while it has it.
RAISED = "raised"
LEFT = "left"  # by SystemExit
UNSENDABLE = "unsendable"  # the function returned something that cannot be sent
MEMORY = "memory"  # an allocation was refused
DISK = "disk"  # a file or the disk is full
UNWRITTEN = "unwritten"  # the exercise is still as learners get it
SERVER = "server"  # TensorFlow's server did not start, so none of the learner's code has run here
CAUSES = (RAISED, LEFT, UNSENDABLE, MEMORY, DISK, UNWRITTEN, SERVER)
FORGED = "forged"  # it sent a message that the kit never sends; the kernel decides this

LONGEST_NAME = 200
LONGEST_TEXT = 4000
MOST_FRAMES = 100
_Seconds = Annotated[float, Meta(ge=-1e15, le=1e15)]
_Bytes = Annotated[int, Meta(ge=-(2**62), le=2**62)]
_Name = Annotated[str, Meta(max_length=LONGEST_NAME)]
_Text = Annotated[str, Meta(max_length=LONGEST_TEXT + 10)]
_LongName = Annotated[str, Meta(max_length=1 << 16)]  # the name of a file or a function


class Message(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind"):
    """A message that is sent between processes as a dict of its fields and its kind."""

    def plain(self) -> dict[str, Any]:
        """Return the message as this dict."""
        return {"kind": kind(self)} | msgspec.structs.asdict(self)


class RankJob(Message, RankConfig, tag="job", kw_only=True):
    """The job of one rank, from the kernel; the zygote adds `parent` and the descriptors.

    payload       path of the file with the function
    has_own       True: after its start the rank receives data that only it gets
    serves        True: it runs a TensorFlow server instead of the function
    has_servers   True: some rank runs a server
    files         paths of its log, board, stack and traceback
    env           environment variables to set
    changed_env   variables that have changed since the zygote began
    cwd, path     its current folder and `sys.path`
    sources       text and name of the notebook's cells, by file name
    parent        process number of the zygote
    """

    node: int
    role: str
    framework: str
    payload: str
    has_own: bool
    serves: bool
    has_servers: bool
    files: dict[str, str]
    env: dict[str, str]
    changed_env: dict[bytes, bytes | None]
    cwd: str
    path: list[str]
    sources: dict[str, tuple[str, str]]
    parent: int = 0


class Begun(Message, frozen=True, tag="begun"):
    """The learner's function begins on this rank, or its server has started."""


class Value(Message, frozen=True, tag="value"):
    """What the function returned."""

    value: Any


class Failed(Message, frozen=True, tag="error"):
    """Why the rank has no value.

    cause    one of CAUSES, or FORGED
    type     name of the exception's type
    text     the exception's text
    frames   file, line and function of each of the learner's frames, the innermost last
    echo     True: the error looks like a consequence of another rank's death
    at_s     the time of the failure, on a clock that all ranks of the computer share
    """

    cause: Literal[CAUSES]
    type: _Name
    text: _Text
    frames: Annotated[list[tuple[_LongName, int, _LongName]], Meta(max_length=MOST_FRAMES)]
    echo: bool
    at_s: _Seconds


class Record(Message, frozen=True, tag="record"):
    """What the rank recorded while it ran; `Run` reads it.

    uncosted      operations whose cost is unknown, with the shapes of their tensors
    clock_reads   clock, file and line of the first place where the learner's code read this
                  computer's clock
    """

    rows: list[AnyRow]
    logged: list[dict[str, Any]]
    cpu_s: _Seconds
    peak_bytes: _Bytes
    live_bytes: list[_Bytes]
    clock_reads: Annotated[list[tuple[_Name, _LongName, int]], Meta(max_length=1)]
    uncosted: Uncosted = []

    def __post_init__(self):
        check_rows(self.rows)


class Died(msgspec.Struct, frozen=True):
    """The rank's process has ended with this exit status, or, if negative, by this signal."""

    code: int
    at_s: float


OF_A_RANK = Begun | Value | Failed | Record


def read(message: object, kinds: Any = OF_A_RANK) -> Any:
    """Return the message as one of these kinds. Raises ValueError if it is none of them.

    >>> read({"kind": "value", "value": 3})
    Value(value=3)
    >>> read({"kind": "value", "value": 3, "score": 100})
    Traceback (most recent call last):
    ValueError: not a message of a rank: Object contains unknown field `score`
    """
    try:
        return msgspec.convert(message, kinds)
    except ValueError as error:
        raise ValueError(f"not a message of a rank: {error}"[:300]) from None


def kind(message: Message) -> str:
    """Return the word for this kind of message, such as "value"."""
    return message.__struct_config__.tag


def forged(why: str) -> Failed:
    """Return the event for a rank that sent a message that the kit never sends."""
    return Failed(FORGED, "NotARanksMessage", why, [], False, 0.0)


def beyond_bounds(why: str) -> Failed:
    """Return the event for a rank that sent more than is read, or data of another kind."""
    return Failed(UNSENDABLE, "OutOfBounds", why, [], False, 0.0)

"""Show what a rank is doing now, in a small file in memory that the notebook's kernel reads.

The file has two parts:

  head    a flag, a checksum, and a `Board` as one line of JSON, written at every wait
  table   the number of channels, then for each channel a hash of its name and the number of
          messages that the rank has issued on it; every message changes one number

The head stays small even if a rank uses many channels. The table is read only when all ranks wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
import struct
import zlib
from typing import NamedTuple

import msgspec

from lablib.record.bounds import Channel, Count, Group, Line, Logged, Name, State, check_message

_READS = 5  # A reader tries this often: writing a board takes only microseconds.
_SUM = 9  # bytes: the flag and eight digits
_HEAD_BYTES = 1 << 16
_FIRST_READ_BYTES = 4096
_ENTRY = struct.Struct("=QQ")
_NUMBER = struct.Struct("=Q")


class Board(NamedTuple):
    """What one rank is doing now.

    state        "running", "waiting" for a message, or "returned"; "" if nothing can be read yet
    steps        the number of training steps that the rank has finished
    sent_bytes   the payload that the rank has passed to messages
    logged       the last value of each name that it gave to `me.log`: numbers and short texts
    name, group, channel, order, line
                 the message that it waits for, or waited for last, as in `rows.Issued`; all empty
                 if the state was written for another reason
    """

    state: State = ""
    steps: Count = 0
    sent_bytes: Count = 0
    logged: Logged = {}
    name: Name = ""
    group: Group = ()
    channel: Channel = ""
    order: Count = 0
    line: Line = ""


class BoardFile:
    """A file in memory that both the rank and the kernel map. Only pages that are used need memory.

    It is written at every wait, so writing must take microseconds: it makes no system call and
    holds no lock. A reader may therefore see half of one board and half of the next. It recognises
    this by the checksum.
    """

    SIZE = 1 << 22
    CHANNELS = (SIZE - _HEAD_BYTES) // _ENTRY.size - 1

    def __init__(self, path: str):
        # Do not empty the file first: in the box its size is sealed.
        with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            file.truncate(self.SIZE)
            self._map = mmap.mmap(file.fileno(), self.SIZE)

    def write(self, board: Board) -> None:
        """Show this board. Raises ValueError if it takes more than 64 KB of JSON."""
        text = json.dumps(board).encode()
        line = b"+%08x%s\n" % (zlib.crc32(text), text)
        if len(line) > _HEAD_BYTES:
            raise ValueError(f"a board shows at most {_HEAD_BYTES} bytes, not {len(line)}")
        self._map[: len(line)] = line

    def running(self) -> None:
        """Change the state to "running" and keep the other fields."""
        self._map[:1] = b"-"

    def add_channel(self, number: int, channel: str) -> None:
        """Give channel `number`, counted from 0, its place in the table."""
        if number < self.CHANNELS:
            _ENTRY.pack_into(self._map, _at(number), _key(channel), 0)
        _NUMBER.pack_into(self._map, _HEAD_BYTES, number + 1)

    def count(self, number: int, issued: int) -> None:
        """Show how many messages the rank has issued on channel `number`."""
        if number < self.CHANNELS:
            _NUMBER.pack_into(self._map, _at(number) + _NUMBER.size, issued)

    @staticmethod
    def read(path) -> Board:
        """Return what the file at `path` shows.

        Returns an empty board if there is nothing yet, if a writer was always in the middle of
        something, or if it holds what no recorder writes.
        """
        with contextlib.suppress(OSError, ValueError, RecursionError):
            for _ in range(_READS):
                line = _first_line(path)
                if line[1:_SUM] == b"%08x" % zlib.crc32(line[_SUM:]):
                    board = board_of(json.loads(line[_SUM:]))
                    return board._replace(state="running") if line.startswith(b"-") else board
        return Board()

    @classmethod
    def issued(cls, path, channel: str) -> float:
        """Return how many messages the rank has issued on the channel.

        Returns infinity if this is unknown, because the rank uses more channels than the table can
        hold.
        """
        with open(path, "rb") as file:
            file.seek(_HEAD_BYTES)
            (channels,) = _NUMBER.unpack(file.read(_NUMBER.size) or bytes(_NUMBER.size))
            file.seek(_at(0))
            table = memoryview(file.read(_ENTRY.size * min(channels, cls.CHANNELS))).cast("Q")
        try:
            return table[2 * table[::2].tolist().index(_key(channel)) + 1]
        except ValueError:
            return math.inf if channels > cls.CHANNELS else 0


def board_of(values: object) -> Board:
    """Return the board with these plain values. Raises ValueError if no recorder writes them.

    >>> board_of(["waiting", 0, 0, {}, "recv", [1], "1>0", 1, ""])
    Traceback (most recent call last):
    ValueError: no message 'recv' has 1 ranks
    """
    if not isinstance(values, list) or len(values) != len(Board._fields):
        raise ValueError("a board has other fields")
    board = msgspec.convert(values, Board)
    if board.name or board.state == "waiting":
        check_message(board.name, board.group)
    return board


def _first_line(path):
    with open(path, "rb") as file:
        line, end, _ = file.read(_FIRST_READ_BYTES).partition(b"\n")
        if not end:
            line += file.read(_HEAD_BYTES - _FIRST_READ_BYTES).partition(b"\n")[0]
    return line


def _at(number):
    return _HEAD_BYTES + _ENTRY.size * (number + 1)


def _key(channel):
    """Return 64 bits that are the same in every process, unlike those of `hash`."""
    digest = hashlib.blake2b(channel.encode(errors="backslashreplace"), digest_size=_NUMBER.size)
    return _NUMBER.unpack(digest.digest())[0]

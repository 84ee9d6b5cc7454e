"""A rank's state now, shown on a small file in memory that the notebook's kernel reads."""

from __future__ import annotations

import json
import mmap
import os
import zlib

_READS = 5  # a board that is being written is whole again within microseconds
_SUM = 9  # bytes: the flag and eight digits


class Board:
    """A small file in memory that both the rank and the kernel map: a flag, a checksum, JSON.

    Written at every wait, so it must cost microseconds; no system call is made and no lock is
    held. So a reader may see half of one state and half of the next: the checksum tells.
    """

    SIZE = 4096

    def __init__(self, path: str):
        # Not emptied first: in the box it is a file whose size is sealed.
        with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            file.truncate(self.SIZE)
            self._map = mmap.mmap(file.fileno(), self.SIZE)

    def write(self, state: dict) -> None:
        text = json.dumps(state).encode()
        line = b"+%08x%s\n" % (zlib.crc32(text), text)
        if len(line) <= self.SIZE:
            self._map[: len(line)] = line

    def running(self) -> None:
        """The state is "running"; the rest of what was written stays."""
        self._map[:1] = b"-"

    @staticmethod
    def read(path) -> dict:
        """What the board at `path` shows; {} when there is none yet or it is not whole."""
        try:
            for _ in range(_READS):
                with open(path, "rb") as file:
                    line = file.read().partition(b"\n")[0]
                if line[1:_SUM] == b"%08x" % zlib.crc32(line[_SUM:]):
                    board = json.loads(line[_SUM:])
                    return board | {"state": "running"} if line.startswith(b"-") else board
        except (OSError, ValueError):
            pass
        return {}

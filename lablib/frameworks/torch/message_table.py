"""A table of what each rank passes to its messages, in memory that all ranks of the computer share.

A rank writes its entry before it passes a message to the backend. Then it reads the entries of the
other ranks. So the last rank always finds a difference before any data is sent.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# How many messages a rank can be ahead of another one and still be compared with it.
_SLOTS = 1 << 14
_TEXTS = 128  # the number of a rank's last messages whose text is kept
_TEXT_BYTES = 2048  # of one entry
# Channel and order, checksum of the signature, of the text, length of the text; checksum of these.
_HEAD = struct.Struct("<QIIHI")
_KEY = 12  # the bytes of the first two fields
_SUM = 4  # the bytes of the last field
_READS = 5  # a reader tries this often: writing an entry takes only microseconds


class Entry(NamedTuple):
    """One rank's part of a message.

    channel, order    messages of one channel match one another across ranks by their order
    signature         what all ranks of the message must have in common, in words; "" if the rank is
                      so far ahead that its text has been overwritten
    sends, receives   elements for and from each rank, if they may differ between ranks
    line              "file:line" of the learner's code
    """

    channel: str
    order: int
    signature: str
    line: str = ""
    sends: tuple[int, ...] = ()
    receives: tuple[int, ...] = ()


class MessageTable:
    """The entries of `ranks` ranks in the file `path`, which the first rank creates.

    Without a path a rank sees only its own entries: there are no other ranks, or no shared memory.
    """

    def __init__(self, path: str | None, rank: int, ranks: int):
        # The file has the flags of the ranks; then heads, sorted by slot, so that one read gets the
        # heads of all ranks; then texts.
        self._heads = ranks
        self._texts = ranks + ranks * _SLOTS * _HEAD.size
        size = self._texts + ranks * _TEXTS * _TEXT_BYTES
        self._map = _shared(path, size) if path else mmap.mmap(-1, size)
        self._rank, self._ranks = rank, ranks

    def receives_from_anybody(self) -> None:
        """From now on, it is unknown which message a receive of this rank will get."""
        self._map[self._rank] = 1

    def is_predictable(self, rank: int) -> bool:
        """Return True if the rank has always named the rank that it receives from."""
        return not self._map[rank]

    def write(self, entry: Entry) -> None:
        """Write this rank's entry."""
        numbers = (" ".join(map(str, n)) for n in (entry.sends, entry.receives))
        head = (entry.channel, str(entry.order), *numbers, entry.line, entry.signature)
        text = "\n".join(head).encode("utf-8", "backslashreplace")[:_TEXT_BYTES]
        slot, channel, signature = _key(entry)
        start = self._text(slot, self._rank)
        self._map[start : start + len(text)] = text
        start = self._head(slot, self._rank)
        packed = _HEAD.pack(channel, signature, zlib.crc32(text), len(text), 0)[:-_SUM]
        self._map[start : start + _HEAD.size] = packed + _sum(packed)

    def different(self, entry: Entry, ranks: Iterable[int]) -> Iterator[tuple[int, Entry]]:
        """Yield ranks whose entry for the same message has another signature, each with its entry.

        If the entry has `sends`, yield all ranks that have written their entries, because the
        caller then compares the numbers.
        """
        slot, *numbers = _key(entry)
        key = _HEAD.pack(*numbers, 0, 0, 0)[:_KEY]
        start = self._head(slot, 0)
        heads = self._map[start : start + self._ranks * _HEAD.size]
        for rank in ranks:
            shown = heads[rank * _HEAD.size : rank * _HEAD.size + _KEY]
            if shown[:8] != key[:8] or (shown == key and not entry.sends):
                continue
            found = self._read(slot, rank)
            if found is None or found[0] != numbers[0]:
                continue
            _, signature, other = found
            differs = signature != numbers[1]
            if other is None and differs:
                yield rank, Entry(entry.channel, entry.order, "")
            elif other and other[:2] == entry[:2] and (differs or entry.sends):
                yield rank, other

    def _head(self, slot, rank):
        return self._heads + (slot * self._ranks + rank) * _HEAD.size

    def _text(self, slot, rank):
        return self._texts + (rank * _TEXTS + slot % _TEXTS) * _TEXT_BYTES

    def _read(self, slot, rank):
        """Return key, signature's checksum and entry of a slot; None while it is being written.

        The entry is None if another entry has overwritten its text.
        """
        start = self._head(slot, rank)
        text = self._text(slot, rank)
        for _ in range(_READS):
            head = self._map[start : start + _HEAD.size]
            if head[-_SUM:] == _sum(head[:-_SUM]):
                key, signature, checksum, length, _ = _HEAD.unpack(head)
                shown = self._map[text : text + length]
                whole = zlib.crc32(shown) == checksum
                parts = shown.decode("utf-8", "replace").split("\n", 5) if whole else ()
                return key, signature, _entry(parts)
        return None


def _shared(path, size):
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        file.truncate(size)  # sparse: only entries that are written need memory
        return mmap.mmap(file.fileno(), size)


def _key(entry):
    channel = zlib.crc32(entry.channel.encode())
    slot = (channel + entry.order) % _SLOTS
    return slot, channel << 32 | entry.order, zlib.crc32(entry.signature.encode())


def _sum(head):
    return zlib.crc32(head).to_bytes(_SUM, "little")


def _entry(parts):
    """Return the entry with these parts; None if it was too long for its slot."""
    if len(parts) < 6:
        return None
    channel, order, sends, receives, line, signature = parts
    numbers = (tuple(map(int, n.split())) for n in (sends, receives))
    return Entry(channel, int(order), signature, line, *numbers)

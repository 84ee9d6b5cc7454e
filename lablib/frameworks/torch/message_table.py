"""What each rank passes to its messages, in memory that all ranks of the computer share.

A rank writes its entry before it hands a message to the backend, then it reads the entries of the
others. So the rank that comes last always finds a difference, before any data moves.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_SLOTS = 1 << 14  # how many messages a rank can be ahead of another and still be compared with it
_TEXTS = 128  # how many of its last messages can be shown in words
_TEXT_BYTES = 2048  # of an entry
# Channel and order, checksum of the signature, of the text, length; checksum of all these.
_HEAD = struct.Struct("<QIIHI")
_KEY = 12  # bytes: the first two of them
_SUM = 4  # bytes: the last of them
_READS = 5  # an entry that is being written is complete within microseconds


class Entry(NamedTuple):
    """One rank's part of a message.

    channel, order    messages of one channel match one another across ranks by their order
    signature         what all ranks of the message must have in common, in words; "" of a rank
                      that is so far ahead that its words are no longer there
    sends, receives   elements for and from each rank, where they may differ from rank to rank
    line              "file:line" of the learner
    """

    channel: str
    order: int
    signature: str
    line: str = ""
    sends: tuple[int, ...] = ()
    receives: tuple[int, ...] = ()


class MessageTable:
    """The entries of `ranks` ranks, in the file `path`, which the first rank that comes makes.

    Without a path the rank sees only its own: it has no others, or shares no memory with them.
    """

    def __init__(self, path: str | None, rank: int, ranks: int):
        # Flags of the ranks; heads, slot by slot, so that one look finds all ranks'; texts.
        self._heads = ranks
        self._texts = ranks + ranks * _SLOTS * _HEAD.size
        size = self._texts + ranks * _TEXTS * _TEXT_BYTES
        self._map = _shared(path, size) if path else mmap.mmap(-1, size)
        self._rank, self._ranks = rank, ranks

    def receives_from_anybody(self) -> None:
        """From now on, nobody can know which message a receive of this rank will get."""
        self._map[self._rank] = 1

    def is_predictable(self, rank: int) -> bool:
        """True if the rank has always named the rank that it receives from."""
        return not self._map[rank]

    def write(self, entry: Entry) -> None:
        """Show the entry of this rank."""
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
        """Ranks whose entry for the same message has another signature, each with its entry.

        Where the entry has `sends`, all that have written theirs: the caller compares the numbers.
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
        """The head of a slot, and its entry: None if another one has taken the place of its text.

        None for a head that is being written.
        """
        start, text = self._head(slot, rank), self._text(slot, rank)
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
        file.truncate(size)  # sparse: only entries that are written take memory
        return mmap.mmap(file.fileno(), size)


def _key(entry):
    channel = zlib.crc32(entry.channel.encode())
    slot = (channel + entry.order) % _SLOTS
    return slot, channel << 32 | entry.order, zlib.crc32(entry.signature.encode())


def _sum(head):
    return zlib.crc32(head).to_bytes(_SUM, "little")


def _entry(parts):
    """None for an entry that was too long for its slot."""
    if len(parts) < 6:
        return None
    channel, order, sends, receives, line, signature = parts
    numbers = (tuple(map(int, n.split())) for n in (sends, receives))
    return Entry(channel, int(order), signature, line, *numbers)

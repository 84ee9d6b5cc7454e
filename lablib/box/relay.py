"""The relay: it passes on the ranks' messages, outside of the ranks, and counts them.

Ranks without a common network have no other way to communicate, so its list is complete.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections import deque

from lablib.box.relayed_collectives import results
from lablib.frameworks.torch.relay_link import (
    BARRIER,
    COLLECTIVE,
    DATA,
    DTYPES,
    HEADER,
    NAMES,
    OPERATIONS,
    PARTS,
    TAKEN,
)

_LARGEST_BYTES = 64 << 20
_MOST_WAITING_BYTES = 128 << 20  # for one receiver; if there are more, senders wait
_MOST_MESSAGES = 200_000
_MOST_IN_COLLECTIVES_BYTES = 64 << 20  # of all ranks together, until the last rank has joined
_PIECE_BYTES = 1 << 20
# A message's tag carries four bytes of the sender's choice, so no message counts as smaller.
_TAG_BYTES = 4


class Relay:
    """A connection to each of `ranks` ranks.

    messages   (source, target, nbytes) of all sends, in order; a send counts as 4 bytes or more
    put_in     (rank, name, nbytes) of all sends and collectives
    forged     the ranks that sent frames that the kit never sends; their connections are closed
    """

    def __init__(self, ranks: int):
        pairs = [socket.socketpair() for _ in range(ranks)]
        self._ours = [ours for ours, _ in pairs]
        self.theirs = [theirs for _, theirs in pairs]
        self.messages: list[tuple[int, int, int]] = []
        self.put_in: list[tuple[int, str, int]] = []
        # By rank, the collectives that some ranks have not begun yet: code, root, data.
        self._begun: list[deque[tuple]] = [deque() for _ in pairs]
        self._waiting_bytes = 0  # of the data in `_begun`
        self._collectives = [0] * ranks
        self.forged: set[int] = set()
        self._sent = [0] * ranks
        self._untaken: set[tuple[int, int, int, int]] = set()  # (source, target, tag, number)
        self._in = [bytearray() for _ in pairs]
        self._out = [bytearray() for _ in pairs]
        self._at_barrier: set[int] = set()
        self._open = set(range(ranks))
        self._stop, self._stopped = os.pipe()
        for ours in self._ours:
            ours.setblocking(False)
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop passing on messages. Calling it twice is harmless."""
        if self._stopped is None:
            return
        os.close(self._stopped)
        self._stopped = None
        self._thread.join()
        os.close(self._stop)
        for sock in (*self._ours, *self.theirs):
            sock.close()

    def _pass_on(self):
        while True:
            full = any(len(waiting) > _MOST_WAITING_BYTES for waiting in self._out)
            with selectors.DefaultSelector() as selector:
                selector.register(self._stop, selectors.EVENT_READ)
                for rank in self._open:
                    events = 0 if full else selectors.EVENT_READ
                    events |= selectors.EVENT_WRITE if self._out[rank] else 0
                    if events:
                        selector.register(self._ours[rank], events, rank)
                ready = selector.select()
            for key, events in ready:
                if key.data is None:
                    return
                if events & selectors.EVENT_WRITE:
                    self._write(key.data)
                if events & selectors.EVENT_READ:
                    self._read(key.data)

    def _write(self, rank):
        try:
            sent = self._ours[rank].send(memoryview(self._out[rank])[:_PIECE_BYTES])
        except BlockingIOError:
            return
        except OSError:
            self._open.discard(rank)
            return
        del self._out[rank][:sent]

    def _read(self, rank):
        try:
            piece = self._ours[rank].recv(_PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._open.discard(rank)
            return
        self._in[rank] += piece
        try:
            while self._take_frame(rank):
                pass
        except ValueError:
            self.forged.add(rank)
            self._open.discard(rank)
            self._ours[rank].close()

    def _take_frame(self, rank):
        came = self._in[rank]
        if len(came) < HEADER.size:
            return False
        kind, peer, tag, number, nbytes = HEADER.unpack_from(came)
        self._check(rank, kind, peer, tag, number, nbytes)
        end = HEADER.size + nbytes
        if len(came) < end:
            return False
        if kind == BARRIER:
            self._come_to_barrier(rank)
        elif kind == COLLECTIVE:
            self._come_to_collective(rank, peer, tag, number, bytes(came[HEADER.size : end]))
        else:
            self._note(rank, kind, peer, tag, number, nbytes)
            self._out[peer] += (
                HEADER.pack(kind, rank, tag, number, nbytes) + came[HEADER.size : end]
            )
        del came[:end]
        return True

    def _note(self, rank, kind, peer, tag, number, nbytes):
        if kind == TAKEN:
            self._untaken.remove((peer, rank, tag, number))
            return
        counted = max(nbytes, _TAG_BYTES)
        self.messages.append((rank, peer, counted))
        self.put_in.append((rank, "send", counted))
        self._sent[rank] = number
        self._untaken.add((rank, peer, tag, number))

    def _check(self, rank, kind, peer, tag, number, nbytes):
        known = kind in (DATA, TAKEN, BARRIER, COLLECTIVE) and 0 <= peer < len(self._ours)
        if not known or nbytes > (_LARGEST_BYTES if kind in (DATA, COLLECTIVE) else 0):
            raise ValueError("no message of a rank")
        if len(self.put_in) >= _MOST_MESSAGES or (kind == DATA and peer == rank):
            raise ValueError("to itself, or one too many")
        # These numbers are not counted as payload, so they must not carry information.
        if kind == DATA and number != self._sent[rank] + 1:
            raise ValueError("out of its turn")
        if kind == TAKEN and (peer, rank, tag, number) not in self._untaken:
            raise ValueError("thanks for a message that nobody sent")

    def _come_to_barrier(self, rank):
        if rank in self._at_barrier:
            raise ValueError("at the same barrier twice")
        self._at_barrier.add(rank)
        if len(self._at_barrier) == len(self._ours):
            self._at_barrier.clear()
            for waiting in self._out:
                waiting += HEADER.pack(BARRIER, 0, 0, 0, 0)

    def _come_to_collective(self, rank, root, tag, number, data):
        code = tag & 255, tag >> 8 & 255, tag >> 16
        if not all(0 <= at < len(known) for at, known in zip(code, (NAMES, DTYPES, OPERATIONS))):
            raise ValueError("no collective")
        heads = PARTS.size * len(self._ours) if NAMES[code[0]] == "all_to_all" else 0
        if len(data) < heads:
            raise ValueError("an all-to-all without the lengths of its pieces")
        if number != self._collectives[rank] + 1:
            raise ValueError("out of its turn")
        self._collectives[rank] = number
        self._begun[rank].append((code, root, data))
        self.put_in.append((rank, NAMES[code[0]], len(data) - heads))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > _MOST_IN_COLLECTIVES_BYTES:
            raise ValueError("more than collectives may hold")
        while all(self._begun) and self._end_collective():
            pass

    def _end_collective(self):
        """End the first collective that all ranks have begun.

        Returns False if they began different ones. Such ranks wait forever, as they would without
        the relay.
        """
        first = [begun[0] for begun in self._begun]
        calls = [(code, root) for code, root, _ in first]
        if len(set(calls)) > 1:
            return False
        parts = [data for *_, data in first]
        found = results(*calls[0], parts)
        if found is None:
            return False
        self._waiting_bytes -= sum(map(len, parts))
        for rank, data in enumerate(found):
            self._begun[rank].popleft()
            number = self._collectives[rank] - len(self._begun[rank])
            self._out[rank] += HEADER.pack(COLLECTIVE, 0, 0, number, len(data)) + data
        return True

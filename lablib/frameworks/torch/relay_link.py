"""A rank's connection to the relay, through which it sends all its messages.

These ranks have no network. The relay (`lablib.box.relay`) is outside the ranks, counts what they
send and passes it on. As with gloo, a send is done only when its receiver has asked for it, so a
rank that sends to a rank that never receives waits.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

HEADER = struct.Struct("!BiiIQ")
"""kind, peer, tag, number of the sender's message, number of bytes that follow.

The peer is the receiver on the way to the relay, and the sender on the way from it.
"""
DATA, TAKEN, BARRIER, COLLECTIVE = range(4)
ANYBODY = -1
# A frame of a collective has its root in place of the peer. Its tag has the positions of its name,
# data type and operation in these lists, eight bits each.
NAMES = (
    "all_reduce", "broadcast", "reduce", "all_gather", "gather", "scatter", "reduce_scatter",
    "all_to_all",
)  # fmt: skip
DTYPES = (
    "float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool",
)  # fmt: skip
OPERATIONS = "SUM", "PRODUCT", "MIN", "MAX"
PARTS = struct.Struct("!Q")
"""The length of one piece of an all-to-all."""


class Pending:
    """A message in progress. `over` becomes True when it is done; `source` is its sender."""

    def __init__(self, source: int = ANYBODY, tag: int = 0, take: Callable | None = None):
        self.source = source
        self.tag = tag
        self.take = take
        self.over = False


class RelayLink:
    """This rank's end of the connection."""

    def __init__(self, sock: socket.socket):
        self.sock, self._sent = sock, 0
        # This rank's sent messages that the receivers have not taken yet, by number.
        self._untaken: dict[int, Pending] = {}
        self._asked: list[Pending] = []
        self._arrived: list[tuple] = []
        self._barriers: list[Pending] = []
        self._collectives: dict[int, Pending] = {}  # collectives in progress, by number
        self._begun = 0

    def send(self, target: int, tag: int, data: bytes) -> Pending:
        """Send a message; it is over when the receiver has taken it."""
        self._sent += 1
        pending = self._untaken[self._sent] = Pending(tag=tag)
        self.sock.sendall(HEADER.pack(DATA, target, tag, self._sent, len(data)))
        self.sock.sendall(data)
        return pending

    def receive(self, source: int, tag: int, take: Callable[[bytes], None]) -> Pending:
        """Ask for a message from `source`, or from ANYBODY; `take` is called with its bytes."""
        pending = Pending(source, tag, take)
        self._asked.append(pending)
        for message in self._arrived:
            if _fits(pending, message):
                self._arrived.remove(message)
                self._hand_over(pending, message)
                break
        return pending

    def barrier(self) -> Pending:
        """Enter a barrier; it is over when every rank has entered it."""
        pending = Pending()
        self._barriers.append(pending)
        self.sock.sendall(HEADER.pack(BARRIER, 0, 0, 0, 0))
        return pending

    def collective(
        self, code: tuple[int, int, int], root: int, data: bytes, take: Callable[[bytes], None]
    ) -> Pending:
        """Take part in the next collective; `take` is called with this rank's result.

        code   positions in NAMES, DTYPES and OPERATIONS
        root   the root's rank, if the collective has one
        """
        self._begun += 1
        pending = self._collectives[self._begun] = Pending(take=take)
        tag = code[0] | code[1] << 8 | code[2] << 16
        self.sock.sendall(HEADER.pack(COLLECTIVE, root, tag, self._begun, len(data)))
        self.sock.sendall(data)
        return pending

    def wait(self, pending: Pending) -> None:
        """Process incoming messages until `pending` is over."""
        while not pending.over:
            self._take_one()

    def look(self) -> None:
        """Process the messages that have arrived, without waiting."""
        while True:
            try:
                if not self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    return
            except BlockingIOError:
                return
            self._take_one()

    def _take_one(self):
        kind, peer, tag, number, nbytes = HEADER.unpack(self._exactly(HEADER.size))
        if kind == TAKEN:
            self._untaken.pop(number).over = True
        elif kind == BARRIER:
            self._barriers.pop(0).over = True
        elif kind == COLLECTIVE:
            pending = self._collectives.pop(number)
            data = self._exactly(nbytes)
            pending.over = True
            pending.take(data)
        else:
            message = peer, tag, number, self._exactly(nbytes)
            asked = next((one for one in self._asked if _fits(one, message)), None)
            if asked is None:
                self._arrived.append(message)
            else:
                self._hand_over(asked, message)

    def _hand_over(self, pending, message):
        peer, tag, number, data = message
        self._asked.remove(pending)
        pending.source, pending.over = peer, True
        self.sock.sendall(HEADER.pack(TAKEN, peer, tag, number, 0))
        pending.take(data)

    def _exactly(self, nbytes):
        data = bytearray()
        while len(data) < nbytes:
            part = self.sock.recv(min(nbytes - len(data), 1 << 20))
            if not part:
                raise ConnectionError("the relay has ended")
            data += part
        return bytes(data)


def _fits(pending, message):
    return pending.source in (ANYBODY, message[0]) and pending.tag == message[1]

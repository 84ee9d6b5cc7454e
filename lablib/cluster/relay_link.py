"""A rank's line to the relay, for exercises about messages: the ranks have no common network.

The relay (`lablib.box.relay`) stands outside the ranks, counts what they send and passes it on. A
send is over when its receiver has asked for it, as with gloo: who sends to one who never receives
waits.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

HEADER = struct.Struct("!BiiIQ")
"""kind, peer, tag, number of the sender's message, bytes that follow. The peer is the receiver on
the way to the relay, the sender on the way from it."""
DATA, TAKEN, BARRIER = range(3)
ANYBODY = -1


class Pending:
    """A message that is under way. `over` turns True; `source` is who sent it."""

    def __init__(self, source: int = ANYBODY, tag: int = 0, take: Callable | None = None):
        self.source, self.tag, self.take, self.over = source, tag, take, False


class Link:
    """This rank's end of the line."""

    def __init__(self, sock: socket.socket):
        self.sock, self._sent = sock, 0
        self._untaken: dict[int, Pending] = {}  # own messages, by number
        self._asked: list[Pending] = []
        self._arrived: list[tuple] = []
        self._barriers: list[Pending] = []

    def send(self, target: int, tag: int, data: bytes) -> Pending:
        """Send; over when the receiver has taken it."""
        self._sent += 1
        pending = self._untaken[self._sent] = Pending(tag=tag)
        self.sock.sendall(HEADER.pack(DATA, target, tag, self._sent, len(data)))
        self.sock.sendall(data)
        return pending

    def receive(self, source: int, tag: int, take: Callable[[bytes], None]) -> Pending:
        """Ask for a message of `source`, or of ANYBODY; `take` gets its bytes."""
        pending = Pending(source, tag, take)
        self._asked.append(pending)
        for message in self._arrived:
            if _fits(pending, message):
                self._arrived.remove(message)
                self._hand_over(pending, message)
                break
        return pending

    def barrier(self) -> Pending:
        """Over when every rank has come to it."""
        pending = Pending()
        self._barriers.append(pending)
        self.sock.sendall(HEADER.pack(BARRIER, 0, 0, 0, 0))
        return pending

    def wait(self, pending: Pending) -> None:
        """Take what comes until it is over."""
        while not pending.over:
            self._take_one()

    def look(self) -> None:
        """Take what has come, and wait for nothing."""
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

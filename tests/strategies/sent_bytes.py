"""Collect the bytes that ranks really send to each other, outside of the ranks' own record.

torch: the ranks have no network. All they send goes through the relay, which is outside of them.
TensorFlow: the ranks have a network of their own, on which rank 0 captures every packet.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import contextmanager, suppress

from lablib.box import boxed_ranks
from lablib.box.relay import Relay

_ALL_PROTOCOLS = 3
_OUTGOING = 4  # on the loopback device each packet comes twice: when it leaves and when it arrives
_STATISTICS, _SOL_PACKET = 6, 263
_RECEIVE_BUFFER_FORCE = 33  # the module `socket` does not name it
_BUFFER_BYTES = 1 << 28
_TCP = 6


class KeepingRelay(Relay):
    """A relay that keeps a copy of all frames of each rank, with their data."""

    newest: KeepingRelay

    def __init__(self, ranks: int):
        self.kept = [bytearray() for _ in range(ranks)]
        KeepingRelay.newest = self
        super().__init__(ranks)

    def _take_frame(self, rank):
        came = bytes(self._in[rank])
        took = super()._take_frame(rank)
        self.kept[rank] += came[: len(came) - len(self._in[rank])]
        return took


def through_the_relay(box, monkeypatch, function, ranks):
    """Run a function on torch ranks without a network.

    Returns (the boxed run, what each rank sent), the latter one bytes object for each rank.
    """
    monkeypatch.setattr(boxed_ranks, "Relay", KeepingRelay)
    done = box.run(function, ranks, relay=True)
    assert done.status == "ok", (done.reason, done.detail, done.logs)
    return done, [bytes(kept) for kept in KeepingRelay.newest.kept]


@contextmanager
def captured():
    """Capture all packets of this process's network; yields a dict that is filled at the end.

    {(source port, target port): bytes in the order of the packets}, and "lost": packets that the
    capture has missed. It needs a network that no other program uses, and the right to read it.
    """
    flows, stop = {}, threading.Event()
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
    with suppress(PermissionError):  # then packets may be lost, which is reported
        sock.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, _BUFFER_BYTES)
    sock.bind(("lo", 0))
    sock.settimeout(0.1)
    reader = threading.Thread(target=_read, args=(sock, flows, stop), daemon=True)
    reader.start()
    try:
        yield flows
    finally:
        stop.set()
        reader.join()
        statistics = sock.getsockopt(_SOL_PACKET, _STATISTICS, 8)
        flows["lost"] = struct.unpack("II", statistics)[1]
        sock.close()


def own_network(outside: str) -> bool:
    """Return True if this process has a network of its own, and may read all its packets.

    outside   the network of the process that started the ranks: the link /proc/self/ns/net
    """
    if os.readlink("/proc/self/ns/net") == outside:
        return False
    with suppress(PermissionError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW):
        return True
    return False


def _read(sock, flows, stop):
    """Read packets until there are none for a while after `stop` is set."""
    while True:
        try:
            packet, address = sock.recvfrom(1 << 17)
        except TimeoutError:
            if stop.is_set():
                return
            continue
        if address[2] == _OUTGOING:
            _keep(packet[14:], flows)


def _keep(packet, flows):
    """Append the data of a TCP packet (IPv4 or IPv6) to its flow."""
    if packet[0] >> 4 == 4:
        protocol, start = packet[9], (packet[0] & 15) * 4
    else:
        protocol, start = packet[6], 40
    if protocol == _TCP:
        ports = struct.unpack_from("!HH", packet, start)
        data = packet[start + (packet[start + 12] >> 4) * 4 :]
        flows.setdefault(ports, bytearray()).extend(data)

"""The kernel's sockets during one run: one to the zygote, and one to each rank."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import time
from collections.abc import Callable

from lablib.cluster.engine import Event, messages, wire

_CLOSE_WITHIN_S = 5
_POLL_S = 0.05


class Connections:
    """Start ranks through the zygote, and collect reports from them and from the zygote.

    channel   the socket to the zygote; closing it ends the run's processes
    wait_s    how long a rank may take to accept a message
    bounds    bounds for messages of a rank
    gone      a function that makes the exception to raise if the zygote has died
    """

    def __init__(
        self,
        channel: socket.socket,
        wait_s: float,
        bounds: wire.Bounds,
        gone: Callable[[], Exception],
    ):
        self.pids: dict[int, int] = {}
        self._channel = channel
        self._wait_s = wait_s
        self._bounds = bounds
        self._gone = gone
        self._readers: dict[int, wire.Reader] = {}
        # Deaths reported while this process waited for an answer.
        self._deaths: list[tuple[int, Event]] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)

    def ports(self, count: int) -> list[int]:
        """Return a port for each rank."""
        self._tell({"op": "ports", "count": count})
        return self._answer("ports")

    def start(self, job: messages.RankJob, files: tuple[int, ...] = ()) -> None:
        """Start the rank that the job describes, and pass it these open files."""
        rank = job.rank
        ours, theirs = socket.socketpair()
        ours.settimeout(self._wait_s)
        with theirs:
            self._readers[rank] = wire.Reader(ours, self._bounds)
            self._selector.register(ours, selectors.EVENT_READ, rank)
            self._tell({"op": "rank", "job": job}, (theirs.fileno(), *files))
            self.pids[rank] = self._answer("pid")

    def send(self, rank: int, message: dict) -> None:
        with _unless_it_died():
            wire.send(self._readers[rank].sock, message)

    def let_go(self, rank: int) -> None:
        with _unless_it_died():
            self._readers[rank].sock.send(b"!")

    def stacks(self, within_s: float, written: Callable[[], list[str]]) -> list[str]:
        """Like `Ranks.stacks`. The fault handlers answer even if a rank is inside of C++ code.

        written   returns what each fault handler has written by now
        """
        if within_s:
            self._tell({"op": "signal", "number": int(signal.SIGUSR1)})
        until_s = time.monotonic() + within_s
        while not all(texts := written()) and time.monotonic() < until_s:
            time.sleep(_POLL_S)
        return texts

    def events(self, wait_s: float) -> list[tuple[int, Event]]:
        """Like `Ranks.events`."""
        found, self._deaths = self._deaths, []
        for key, _ in self._selector.select(0 if found else wait_s):
            found += self._from_zygote() if key.data is None else self._from_rank(key.data)
        return found

    def close(self) -> None:
        """End the run's processes. Calling it twice is harmless."""
        if self._channel.fileno() < 0:
            return
        with contextlib.suppress(OSError, EOFError):  # the zygote has died, and its ranks with it
            wire.send(self._channel, {"op": "close"})
            self._channel.settimeout(_CLOSE_WITHIN_S)
            while "closed" not in (wire.receive(self._channel)[0] or {"closed": True}):
                pass
        self.hang_up()

    def hang_up(self) -> None:
        """Close the sockets. This does not end the processes."""
        self._selector.close()
        self._channel.close()
        for reader in self._readers.values():
            reader.sock.close()

    def _tell(self, message, files=()):
        try:
            wire.send(self._channel, message, files)
        except OSError:
            raise self._gone() from None

    def _hear(self):
        try:
            message, _ = wire.receive(self._channel)
        except (OSError, EOFError):
            message = None
        if message is None:
            raise self._gone()
        return message

    def _answer(self, key):
        while key not in (message := self._hear()):
            self._deaths += self._death(message)
        return message[key]

    def _from_zygote(self):
        return self._death(self._hear())

    def _death(self, message):
        """Return a rank's last messages, followed by its death."""
        rank = message["rank"]
        return [*self._from_rank(rank), (rank, messages.Died(message["exit"], message["at_s"]))]

    def _from_rank(self, rank):
        reader, found = self._readers[rank], []
        try:
            for message in reader.messages():
                found.append((rank, messages.read(message)))
        except wire.OutOfBounds as error:
            found.append((rank, messages.beyond_bounds(str(error))))
        except ValueError as error:
            found.append((rank, messages.forged(str(error))))
        if reader.ended and reader.sock in self._selector.get_map():
            self._selector.unregister(reader.sock)
        return found


def _unless_it_died():
    """Ignore that a rank does not accept a message: `supervise` soon notices the reason."""
    return contextlib.suppress(ConnectionError, TimeoutError)

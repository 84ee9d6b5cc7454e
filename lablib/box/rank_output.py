"""Collect the output of ranks in the box continuously, and keep only its end."""

from __future__ import annotations

import os
import selectors
import threading

_PIECE_BYTES = 1 << 16
_STOP_WITHIN_S = 1


class Printed:
    """Pipes that a thread empties; it keeps the end of each pipe's data.

    names        one name for each pipe
    kept_bytes   bytes that are kept of each pipe
    """

    def __init__(self, names, kept_bytes: int):
        self.kept_bytes = kept_bytes
        self._kept = {name: bytearray() for name in names}
        self._total_bytes = dict.fromkeys(self._kept, 0)
        self._selector = selectors.DefaultSelector()
        self.writing = {name: self._pipe(name) for name in self._kept}
        self._stop, self._stopped = os.pipe()
        self._selector.register(self._stop, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._empty, daemon=True)
        self._thread.start()

    @property
    def most_bytes(self) -> int:
        """Return the number of bytes that came through the fullest pipe."""
        return max(self._total_bytes.values())

    def text(self, name) -> str:
        """Return the end of the data that came through this pipe."""
        return bytes(self._kept[name]).decode(errors="replace")

    def close(self) -> None:
        """Read the data that is there, and stop. Calling it twice is harmless."""
        if self._stopped is None:
            return
        os.close(self._stopped)
        self._stopped = None
        self._thread.join(_STOP_WITHIN_S)
        for descriptor in self.writing.values():
            os.close(descriptor)

    def _pipe(self, name):
        read, write = os.pipe()
        # The rank may be any user, and opens the pipe by its descriptor's name.
        os.fchmod(write, 0o622)
        os.set_blocking(read, False)
        self._selector.register(read, selectors.EVENT_READ, name)
        return write

    def _empty(self):
        stopping = False
        while not stopping:
            ready = self._selector.select()
            stopping = any(key.fd == self._stop for key, _ in ready)
            for key, _ in ready:
                if key.fd != self._stop:
                    self._take(key)
        for key in list(self._selector.get_map().values()):
            if key.fd != self._stop:
                self._take(key)
            os.close(key.fd)
        self._selector.close()

    def _take(self, key):
        try:
            piece = os.read(key.fd, _PIECE_BYTES)
        except BlockingIOError:
            return
        self._total_bytes[key.data] += len(piece)
        kept = self._kept[key.data]
        kept += piece
        del kept[: -self.kept_bytes]

"""Messages between the notebook's kernel, the zygote and the ranks: framed, plain, never pickled.

Learner code runs on the ranks, so what a rank sends is data to be read, not code to be run:
msgpack with a few types of our own. Tensors of both frameworks arrive as NumPy arrays.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import msgpack
import numpy as np

_HEADER = struct.Struct("!Q")
_LARGEST_FRAME = 2**31
_ARRAY, _TUPLE, _INT, _COMPLEX, _SET = range(1, 6)
_ARRAY_KINDS = "biufcSU"


class CannotTravel(TypeError):
    """A value that is not plain data; the text says which part of it and why."""


def pack(value: Any) -> bytes:
    """Bytes of plain data: None, bool, int, float, complex, str, bytes, list, tuple, dict, set,
    NumPy arrays and scalars, tensors of torch and TensorFlow.

    Raises CannotTravel for anything else, and for values nested deeper than 500.
    """
    try:
        return msgpack.packb(value, default=_encode, strict_types=True)
    except (ValueError, OverflowError, RecursionError) as error:
        raise CannotTravel(str(error)) from None


def unpack(data: bytes) -> Any:
    """The value that `pack` wrote. Raises ValueError for bytes that `pack` cannot have written."""
    try:
        return msgpack.unpackb(data, ext_hook=_decode, strict_map_key=False)
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise ValueError(f"not a message of a rank: {error}") from None


def send(sock: socket.socket, message: dict, fds: tuple[int, ...] = ()) -> None:
    """Send one message, and open files with its first byte."""
    frame = pack(message)
    header = _HEADER.pack(len(frame))
    if fds:
        socket.send_fds(sock, [header], list(fds))
    else:
        sock.sendall(header)
    sock.sendall(frame)


def receive(sock: socket.socket, max_fds: int = 0) -> tuple[dict | None, list[int]]:
    """The next message and the files that came with it; None at the end of the stream."""
    if max_fds:
        header, fds, _, _ = socket.recv_fds(sock, _HEADER.size, max_fds)
    else:
        header, fds = sock.recv(_HEADER.size), []
    if not header:
        return None, fds
    header += _exactly(sock, _HEADER.size - len(header))
    return unpack(_exactly(sock, _size(header))), fds


class Reader:
    """Collects the frames of one rank's stream without ever waiting for it."""

    def __init__(self, sock: socket.socket):
        self.sock, self.ended, self._buffer = sock, False, bytearray()

    def fileno(self) -> int:
        return self.sock.fileno()

    def messages(self) -> list[dict]:
        """The messages complete by now. `ended` turns True at the end of the stream.

        Raises ValueError when the stream is not one of a rank.
        """
        try:
            data = self.sock.recv(1 << 20, socket.MSG_DONTWAIT)
            self.ended = not data
            self._buffer += data
        except BlockingIOError:
            pass
        except ConnectionError:
            self.ended = True
        found = []
        while (frame := self._frame()) is not None:
            found.append(unpack(frame))
        return found

    def _frame(self):
        if len(self._buffer) < _HEADER.size:
            return None
        end = _HEADER.size + _size(self._buffer[: _HEADER.size])
        if len(self._buffer) < end:
            return None
        frame = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        return frame


def _size(header):
    (size,) = _HEADER.unpack(bytes(header))
    if size > _LARGEST_FRAME:
        raise ValueError(f"a message of {size} bytes; at most {_LARGEST_FRAME} are read")
    return size


def _exactly(sock, size):
    data = bytearray()
    while len(data) < size:
        part = sock.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError("the stream ended inside a message")
        data += part
    return bytes(data)


def _encode(value):
    array = _as_array(value)
    if array is not None:
        return _encode_array(array)
    for base, plain in ((bool, bool), (dict, dict), (list, list), (str, str), (float, float)):
        if isinstance(value, base) and type(value) is not base:
            return plain(value)
    if isinstance(value, tuple):
        return msgpack.ExtType(_TUPLE, pack(list(value)))
    if isinstance(value, (set, frozenset)):
        return msgpack.ExtType(_SET, pack(list(value)))
    if isinstance(value, int):
        return msgpack.ExtType(_INT, str(int(value)).encode())
    if isinstance(value, complex):
        return msgpack.ExtType(_COMPLEX, pack([value.real, value.imag]))
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise CannotTravel(f"a {kind} is not plain data")


def _as_array(value):
    """The NumPy array of an array, a NumPy scalar or a tensor of either framework, else None."""
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if type(value).__module__.split(".")[0] == "torch" and hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    if type(value).__module__.split(".")[0] in ("tensorflow", "keras") and hasattr(value, "numpy"):
        return np.asarray(value.numpy())
    return None


def _encode_array(array):
    if array.dtype.kind not in _ARRAY_KINDS:
        raise CannotTravel(f"an array of dtype {array.dtype} is not plain data")
    parts = [array.dtype.str, list(array.shape), array.tobytes()]
    return msgpack.ExtType(_ARRAY, msgpack.packb(parts))


def _decode(code, data):
    if code == _ARRAY:
        dtype, shape, raw = msgpack.unpackb(data)
        if np.dtype(dtype).kind not in _ARRAY_KINDS:
            raise ValueError(f"an array of dtype {dtype}")
        return np.frombuffer(bytearray(raw), dtype).reshape(shape)[()]
    if code == _INT:
        return int(data[:5000])
    value = unpack(data)
    if code == _COMPLEX:
        return complex(*value)
    return {_TUPLE: tuple, _SET: set}[code](value)

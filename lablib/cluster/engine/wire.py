"""Messages between the notebook's kernel, the zygote and the ranks: framed, plain, never pickled.

The learner's code runs on the ranks, so a rank's messages are read as data and never executed as
code. The format is msgpack with a few types of the kit's own. Tensors of both frameworks arrive as
NumPy arrays.
"""

from __future__ import annotations

import math
import re
import socket
import struct
from dataclasses import dataclass
from typing import Any

import msgpack
import msgspec
import numpy as np

from lablib.cluster.engine.messages import Message
from lablib.cluster.engine.sendable import CannotTravel, as_array, refusal
from lablib.frameworks.unknown import Unknown
from lablib.record.rows import Row

_HEADER = struct.Struct("!Q")
_ARRAY, _TUPLE, _INT, _COMPLEX, _SET, _FROZEN_SET = range(1, 7)
_ARRAY_KINDS = "biufcSU"
_DEEPEST = 64  # most levels of tuples, sets and arrays inside one another
_MOST_DIGITS = 1000
_WHOLE_NUMBER = re.compile(rb"-?[0-9]+")
_SAFE_INT = 2**53


@dataclass(frozen=True)
class Bounds:
    """How much a reader accepts from a sender that it does not trust.

    frame_bytes  bytes of one message
    elements     elements of all lists, dicts, sets and tuples of one message together: an empty
                 list is one byte in the message and 64 in memory
    plain_keys   keys of dicts and members of sets are str, bytes or whole numbers below 2**53: a
                 sender could make other keys collide, and reading them would take hours
    """

    frame_bytes: int
    elements: int
    plain_keys: bool


class OutOfBounds(ValueError):
    """A message may be that of a rank, but it is beyond the reader's bounds."""


ANY_SIZE = Bounds(frame_bytes=2**31, elements=2**31, plain_keys=False)


def pack(value: Any) -> bytes:
    """Return the bytes of plain data.

    Plain data are None, bool, int, float, complex, str, bytes, list, tuple, dict, set, NumPy arrays
    and scalars, tensors of torch and TensorFlow (see `sendable`), and a `Message`. Raises
    CannotTravel for anything else, and for values nested deeper than 500.
    """
    try:
        return msgpack.packb(value, default=_encode, strict_types=True)
    except (ValueError, OverflowError, RecursionError) as error:
        raise CannotTravel(str(error)) from None


def unpack(data: bytes, bounds: Bounds = ANY_SIZE) -> Any:
    """Return the value that `pack` wrote.

    Raises ValueError for bytes that `pack` cannot have written, and OutOfBounds for values beyond
    the bounds.
    """
    try:
        return _Unpacking(len(data), bounds).value(data)
    except OutOfBounds:
        raise
    except _UNREADABLE as error:
        raise ValueError(f"not a message of a rank: {error}"[:300]) from None


def send(sock: socket.socket, message: dict | Message, fds: tuple[int, ...] = ()) -> None:
    """Send one message; open files are sent with its first byte."""
    frame = pack(message)
    header = _HEADER.pack(len(frame))
    if fds:
        socket.send_fds(sock, [header], list(fds))
    else:
        sock.sendall(header)
    sock.sendall(frame)


def receive(sock: socket.socket, max_fds: int = 0) -> tuple[dict | None, list[int]]:
    """Return the next message and the files that came with it; None at the end of the stream."""
    if max_fds:
        header, fds, _, _ = socket.recv_fds(sock, _HEADER.size, max_fds)
    else:
        header, fds = sock.recv(_HEADER.size), []
    if not header:
        return None, fds
    header += _exactly(sock, _HEADER.size - len(header))
    return unpack(_exactly(sock, _size(header))), fds


class Reader:
    """Collect the frames of one rank's stream without ever waiting for it."""

    def __init__(self, sock: socket.socket, bounds: Bounds = ANY_SIZE):
        self.sock = sock
        self.bounds = bounds
        self.ended = False
        self._buffer = bytearray()

    def fileno(self) -> int:
        return self.sock.fileno()

    def messages(self) -> list[Any]:
        """Return the complete messages. `ended` turns True at the end of the stream.

        Raises ValueError if the stream cannot be that of a rank, or OutOfBounds. Nothing is read
        after that.
        """
        if self.ended:
            return []
        self._take_what_is_there()
        found = []
        try:
            while (frame := self._frame()) is not None:
                found.append(unpack(frame, self.bounds))
        except ValueError:
            self.ended = True
            raise
        return found

    def _take_what_is_there(self):
        # With a time limit, recv would wait in spite of its flags.
        patience_s = self.sock.gettimeout()
        self.sock.settimeout(0)
        try:
            data = self.sock.recv(1 << 20)
            self.ended = not data
            self._buffer += data
        except BlockingIOError:
            pass
        except ConnectionError:
            self.ended = True
        finally:
            self.sock.settimeout(patience_s)

    def _frame(self):
        if len(self._buffer) < _HEADER.size:
            return None
        end = _HEADER.size + _size(self._buffer[: _HEADER.size], self.bounds)
        if len(self._buffer) < end:
            return None
        frame = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        return frame


def _size(header, bounds=ANY_SIZE):
    (size,) = _HEADER.unpack(bytes(header))
    if size > bounds.frame_bytes:
        raise OutOfBounds(f"a message of {size} bytes; at most {bounds.frame_bytes} are read")
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
    if isinstance(value, Message):
        return value.plain()
    if isinstance(value, Row):
        return msgspec.to_builtins(value)
    if isinstance(value, Unknown):
        return math.nan
    array = as_array(value)
    if array is not None:
        return _encode_array(array)
    for base, plain in ((bool, bool), (dict, dict), (list, list), (str, str), (float, float)):
        if isinstance(value, base) and type(value) is not base:
            return plain(value)
    if isinstance(value, tuple):
        return msgpack.ExtType(_TUPLE, pack(list(value)))
    if isinstance(value, (set, frozenset)):
        code = _SET if isinstance(value, set) else _FROZEN_SET
        return msgpack.ExtType(code, pack(list(value)))
    if isinstance(value, int):
        digits = str(int(value)).encode()
        if len(digits) > _MOST_DIGITS:
            raise CannotTravel(f"a whole number of {len(digits)} digits")
        return msgpack.ExtType(_INT, digits)
    if isinstance(value, complex):
        return msgpack.ExtType(_COMPLEX, pack([value.real, value.imag]))
    raise refusal(value)


def _encode_array(array):
    parts = [array.dtype.str, list(array.shape), array.tobytes()]
    return msgpack.ExtType(_ARRAY, msgpack.packb(parts))


_UNREADABLE = (
    ValueError, TypeError, KeyError, OverflowError, RecursionError, MemoryError,
    msgpack.UnpackException,
)  # fmt: skip


class _Unpacking:
    """One message while it is read, and the rest of its bounds.

    Each tuple or set copies its contents once, also those of nested ones, so the number of copies
    is limited, too.
    """

    def __init__(self, nbytes, bounds):
        self.bounds, self.elements_left = bounds, bounds.elements
        self.depth, self.copies_left = 0, 8 * nbytes + (1 << 20)

    def value(self, data):
        return msgpack.unpackb(
            data, ext_hook=self._extension, list_hook=self._list, object_pairs_hook=self._dict,
            strict_map_key=False,
        )  # fmt: skip

    def _take(self, count):
        self.elements_left -= count
        if self.elements_left < 0:
            raise OutOfBounds(f"more than {self.bounds.elements} elements")

    def _list(self, elements):
        self._take(len(elements) + 1)
        return elements

    def _dict(self, pairs):
        self._take(2 * len(pairs) + 1)
        self._check_keys(key for key, _ in pairs)
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a dict with the same key twice")
        return found

    def _check_keys(self, keys):
        if self.bounds.plain_keys and not all(map(_is_plain_key, keys)):
            raise OutOfBounds("a key that is neither text nor a small whole number")

    def _extension(self, code, data):
        self.copies_left -= len(data)
        self.depth += 1
        if self.depth > _DEEPEST or self.copies_left < 0:
            raise ValueError("nested too deep")
        try:
            return self._decode(code, data)
        finally:
            self.depth -= 1

    def _decode(self, code, data):
        if code == _ARRAY:
            return _decode_array(*msgpack.unpackb(data))
        if code == _INT:
            if len(data) > _MOST_DIGITS or not _WHOLE_NUMBER.fullmatch(data):
                raise ValueError("a whole number that is none")
            return int(data)
        members = self.value(data)
        if type(members) is not list:
            raise ValueError("an extension without its list")
        if code == _COMPLEX:
            real, imaginary = members
            return complex(float(real), float(imaginary))
        if code in (_SET, _FROZEN_SET):
            self._check_keys(members)
        return {_TUPLE: tuple, _SET: set, _FROZEN_SET: frozenset}[code](members)


def _is_plain_key(key):
    return type(key) in (str, bytes) or (type(key) is int and abs(key) < _SAFE_INT)


def _decode_array(dtype, shape, raw):
    if type(dtype) is not str or len(dtype) > 20 or np.dtype(dtype).kind not in _ARRAY_KINDS:
        raise ValueError("an array of no plain dtype")
    if len(shape) > 32 or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("an array of no shape")
    if math.prod(shape) * np.dtype(dtype).itemsize != len(raw):
        raise ValueError("an array whose bytes do not fill its shape")
    return np.frombuffer(bytearray(raw), dtype).reshape(shape)[()]

"""What a rank sends is data to be read, never code to be run."""

from __future__ import annotations

import pickle
import socket

import numpy as np
import pytest

from lablib.cluster import wire

PLAIN = [
    None, True, 3, 2**80, -1.5, 1 + 2j, "text", b"bytes", [1, [2]], (1, (2, 3)), {1: "a", "b": 2},
    {3, 4},
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_data_arrives_as_it_was_with_its_type(value):
    arrived = wire.unpack(wire.pack(value))
    assert arrived == value
    assert type(arrived) is type(value)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u1", "?", "c8", "U3"])
def test_arrays_arrive_with_shape_and_type(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    arrived = wire.unpack(wire.pack([array]))[0]
    assert arrived.dtype == array.dtype
    np.testing.assert_array_equal(arrived, array)


@pytest.mark.parametrize("value", [object(), lambda: 0, [np.array([object()])], {"a": open}])
def test_what_is_not_plain_is_refused_by_the_sender(value):
    with pytest.raises(wire.CannotTravel):
        wire.pack(value)


def test_depth_is_bounded():
    value = []
    for _ in range(2000):
        value = [value]
    with pytest.raises(wire.CannotTravel):
        wire.pack(value)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('the pickle ran')",)


def test_a_pickle_in_the_stream_is_not_run():
    with pytest.raises(ValueError):
        wire.unpack(pickle.dumps(Bomb()))


def test_that_pickle_would_have_run():
    with pytest.raises(SystemExit):
        pickle.loads(pickle.dumps(Bomb()))


def test_an_object_array_in_the_stream_is_refused():
    import msgpack

    forged = msgpack.packb(msgpack.ExtType(1, msgpack.packb(["|O", [1], b"12345678"])))
    with pytest.raises(ValueError):
        wire.unpack(forged)


def test_a_reader_finds_the_messages_in_whatever_pieces_they_come():
    ours, theirs = socket.socketpair()
    sender, receiver = socket.socketpair()
    wire.send(sender, {"n": 1})
    wire.send(sender, {"n": 2})
    stream, found, reader = receiver.recv(1 << 16), [], wire.Reader(ours)
    for byte in stream:
        theirs.send(bytes([byte]))
        found += reader.messages()
    theirs.close()
    assert found == [{"n": 1}, {"n": 2}]
    assert reader.messages() == [] and reader.ended
    for sock in (ours, sender, receiver):
        sock.close()


def test_a_frame_that_claims_to_be_huge_is_refused_before_it_is_read():
    ours, theirs = socket.socketpair()
    theirs.send((2**40).to_bytes(8, "big") + b"x")
    with pytest.raises(ValueError, match="at most"):
        wire.Reader(ours).messages()
    ours.close(), theirs.close()

"""Messages from a rank are read as data and never executed as code."""

from __future__ import annotations

import math
import pickle
import socket

import msgpack
import numpy as np
import pytest

from lablib.cluster.engine import messages, wire
from lablib.record.rows import Ended

PLAIN = [
    None, True, 3, 2**80, -1.5, 1 + 2j, "text", b"bytes", [1, [2]], (1, (2, 3)), {1: "a", "b": 2},
    {3, 4}, frozenset([3]), {frozenset([3]): "a", (4, frozenset()): "b"},
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


def test_a_reader_never_waits_however_patient_its_socket_is():
    ours, theirs = socket.socketpair()
    ours.settimeout(0.5)  # a longer wait raises TimeoutError
    assert wire.Reader(ours).messages() == [] and ours.gettimeout() == 0.5
    ours.close(), theirs.close()


def test_a_frame_that_claims_to_be_huge_is_refused_before_it_is_read():
    ours, theirs = socket.socketpair()
    theirs.send((2**40).to_bytes(8, "big") + b"x")
    with pytest.raises(ValueError, match="at most"):
        wire.Reader(ours).messages()
    ours.close(), theirs.close()


STRICT = wire.Bounds(frame_bytes=1 << 20, elements=1000, plain_keys=True)


def extensions(depth):
    data = msgpack.packb([])
    for _ in range(depth):
        data = msgpack.packb(msgpack.ExtType(2, data))
    return data


def array(dtype, shape, raw):
    return msgpack.packb(msgpack.ExtType(1, msgpack.packb([dtype, shape, raw])))


FORGED = {
    "same key twice": b"\x82\xa1a\x01\xa1a\x02",
    "lists 10,000 deep": b"\x91" * 10_000 + b"\xc0",
    "tuples 900 deep": extensions(900),
    "too many elements": msgpack.packb([[] for _ in range(2000)]),
    "a key that can be made to collide": msgpack.packb({2**61 - 1: 1}),
    "a set whose members can be made to collide": msgpack.packb(
        msgpack.ExtType(5, msgpack.packb([1.5]))
    ),
    "a frozen set whose members can be made to collide": msgpack.packb(
        msgpack.ExtType(6, msgpack.packb([1.5]))
    ),
    "a whole number of 5,000 digits": msgpack.packb(msgpack.ExtType(3, b"9" * 5000)),
    "a whole number that is none": msgpack.packb(msgpack.ExtType(3, b"1_0")),
    "an array of another size": array("<f8", [3], bytes(8)),
    "an array of negative shape": array("<f8", [-1], bytes(8)),
    "an array of no shape": array("<f8", "3", bytes(24)),
    "an array of huge members": array("S1000000000", [1], b""),
    "an array of records": array("f4,f4", [1], bytes(8)),
    "an extension that nobody knows": msgpack.packb(msgpack.ExtType(9, msgpack.packb([]))),
    "half a message": wire.pack([1, 2, 3])[:-1],
    "more than a message": wire.pack(1) + b"\x01",
}


@pytest.mark.parametrize("data", FORGED.values(), ids=FORGED)
def test_a_forged_message_is_refused(data):
    with pytest.raises(ValueError):
        wire.unpack(data, STRICT)


def test_that_claim_can_fail():
    value = [{"a": (1, 2.5, np.arange(3.0))}, {1, "b"}, 10**30, float("nan")]
    arrived = wire.unpack(wire.pack(value), STRICT)
    assert repr(arrived) == repr(value)


def test_nested_copies_of_a_large_message_are_bounded():
    data = msgpack.packb(["x" * (1 << 20)])
    for _ in range(30):
        data = msgpack.packb([msgpack.ExtType(2, data)])
    with pytest.raises(ValueError, match="deep"):
        wire.unpack(data)


ERROR = {"kind": "error", "cause": messages.RAISED, "type": "E", "text": "", "frames": [],
         "echo": True, "at_s": 0.0}  # fmt: skip


RECORD = {"kind": "record", "rows": [["ended", 3, 0.5]], "logged": [{"loss": 1.0}], "cpu_s": 0,
          "peak_bytes": 0, "live_bytes": [], "clock_reads": [["time", "f", 1]]}  # fmt: skip


def test_what_a_rank_reports_is_read_as_its_message():
    assert messages.read(ERROR) == messages.Failed(messages.RAISED, "E", "", [], True, 0.0)
    assert messages.read({"kind": "begun"}) == messages.Begun()
    record = messages.read(RECORD)
    assert (record.rows, record.clock_reads) == ([Ended(3, 0.5)], [("time", "f", 1)])


@pytest.mark.parametrize(
    "message",
    [
        messages.Value({"a": (1, 2.5, np.arange(3.0))}),
        messages.Failed(messages.LEFT, "SystemExit", "3", [("f.py", 3, "g")], False, 1.5),
        messages.Record([Ended(3, 0.5)], [{"loss": 2}], 1.0, 3, [4, 5], []),
    ],
    ids=messages.kind,
)
def test_a_message_arrives_as_it_was_sent(message):
    assert repr(messages.read(wire.unpack(wire.pack(message), STRICT))) == repr(message)


@pytest.mark.parametrize(
    "message",
    [
        None,
        {"kind": "score", "value": 100},
        {"kind": ["value"], "value": 1},
        {"kind": "value", "value": 1, "score": 100},
        ERROR | {"echo": 1},
        ERROR | {"at_s": math.nan},
        ERROR | {"frames": [["f", "1", "g"]]},
        ERROR | {"cause": "won"},
        {"kind": "begun", "value": 1},
        ERROR | {"text": "x" * 5000},
        ERROR | {"type": "x" * 201},
        ERROR | {"frames": [["f", 1, "g"]] * 101},
        ERROR | {"cause": messages.FORGED},
        {"kind": "job"},
        {name: part for name, part in RECORD.items() if name != "logged"},
        RECORD | {"rows": [3]},
        RECORD | {"rows": [["won", 3, 0.5]]},
        RECORD | {"logged": [{1: 1.0}]},
        RECORD | {"live_bytes": [True]},
        RECORD | {"peak_bytes": 10**30},
        RECORD | {"clock_reads": [["time", "f", 1]] * 2},
    ],
)
def test_what_is_no_message_of_a_rank_is_refused(message):
    with pytest.raises(ValueError, match="not a message of a rank"):
        messages.read(message)

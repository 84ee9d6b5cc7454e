"""All messages between ranks are observed outside of them, and no message avoids the relay."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys
import time

import cloudpickle
import numpy as np
import pytest

from lablib.box.box import Box
from lablib.box.limits import Limits
from lablib.box.relay import Relay
from lablib.frameworks.torch.relay_link import (
    COLLECTIVE,
    DATA,
    HEADER,
    NAMES,
    PARTS,
    TAKEN,
    RelayLink,
)

pytestmark = pytest.mark.timeout(120)
boxed = pytest.mark.needs("bubblewrap")
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def box():
    with Box("torch", limits=Limits(timeout_s=20)) as box:
        yield box


def passes_round(me):
    import torch
    import torch.distributed as dist

    mine, came = torch.full((1000,), float(me.rank)), torch.empty(1000)
    under_way = [
        dist.isend(mine, (me.rank + 1) % me.ranks),
        dist.irecv(came, (me.rank - 1) % me.ranks),
    ]
    for message in under_way:
        message.wait()
    dist.barrier()
    if me.rank == 0:
        dist.send(torch.tensor(7), 2)
    if me.rank == 2:
        number = torch.tensor(0)
        assert dist.recv(number) == 0  # from any rank
        return float(came[0]), int(number)
    return float(came[0])


@boxed
def test_the_messages_are_counted_in_order_and_arrive(box):
    done = box.run(passes_round, 4, relay=True)
    assert done.status == "ok", done
    assert done.values == {0: 3.0, 1: 0.0, 2: (1.0, 7), 3: 2.0}
    assert sorted(done.messages[:4]) == [(r, (r + 1) % 4, 4000) for r in range(4)]
    assert done.messages[4:] == [(0, 2, 8)]
    assert [op.name for op in done.run.program[0] if op.kind == "issue"] == [
        "send", "recv", "barrier", "send"
    ]  # fmt: skip


def both_send_first(me):
    import torch
    import torch.distributed as dist

    dist.send(torch.zeros(10), 1 - me.rank)
    dist.recv(torch.zeros(10), 1 - me.rank)


def begins_with_another_collective(me):
    import torch
    import torch.distributed as dist

    dist.all_reduce(torch.zeros(1)) if me.rank else dist.broadcast(torch.zeros(1), 0)


def forges(me):
    from lablib.frameworks.torch.relay_link import DATA, HEADER

    if me.rank:
        time.sleep(100)
    for descriptor in range(3, 64):
        try:
            with socket.socket(fileno=os.dup(descriptor)) as line:
                line.sendall(HEADER.pack(DATA, 99, 0, 0, 5))
        except OSError:
            pass
    time.sleep(0.2)
    raise SystemExit


@boxed
@pytest.mark.parametrize(
    "function, status",
    [(both_send_first, "hang"), (begins_with_another_collective, "hang"), (forges, "forged")],
)
def test_what_cannot_work_says_so(box, function, status):
    assert box.run(function, 2, relay=True).status == status


def uses_every_collective(me):
    """Return, by name, the result of each collective on this rank."""
    import torch
    import torch.distributed as dist
    from torch.distributed import nn

    def mine(size=4):
        return torch.arange(float(size)) + 10 * me.rank

    every, left = range(me.ranks), {"sum": mine(), "max": mine(), "from 1": mine(), "to 1": mine()}
    dist.all_reduce(left["sum"], async_op=True).wait()
    dist.all_reduce(left["max"], dist.ReduceOp.MAX)
    dist.broadcast(left["from 1"], 1)
    dist.reduce(left["to 1"], 1)
    left["to 1"] = left["to 1"] if me.rank == 1 else None
    left["integers"] = torch.arange(3)
    dist.all_reduce(left["integers"], group=dist.new_group())
    gathered = [torch.empty(4) for _ in every]
    dist.all_gather(gathered, mine())
    left["all"] = torch.stack(gathered)
    dist.all_gather_into_tensor(left["all"].view(-1), mine())
    dist.gather(mine(), gathered if me.rank == 0 else None)
    dist.scatter(mine(2), [mine(2) for _ in every] if me.rank == 2 else None, 2)
    left["part"] = torch.empty(2)
    dist.reduce_scatter(left["part"], [mine(2) + other for other in every])
    dist.reduce_scatter_tensor(left["part"], mine(2 * me.ranks))
    left["swapped"] = torch.empty(2 * me.ranks)
    dist.all_to_all(list(left["swapped"].chunk(me.ranks)), [mine(2) * other for other in every])
    dist.all_to_all_single(left["swapped"], mine(2 * me.ranks))
    left["objects"] = [None for _ in every]
    dist.all_gather_object(left["objects"], {"rank": me.rank})
    slope = mine().requires_grad_()
    nn.functional.all_reduce(slope).sum().backward()
    model = torch.nn.Linear(4, 2, bias=False)
    torch.nn.init.ones_(model.weight)
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    parallel(mine()).sum().backward()
    return left | {"slope": slope.grad, "DDP": model.weight.grad}


def put_in(run):
    return sorted((rank, op.name, op.nbytes) for rank, ops in enumerate(run.program) for op in ops
                  if op.kind == "issue" and op.name != "barrier")  # fmt: skip


@boxed
def test_collectives_have_the_same_results_through_the_relay_which_sees_them_all(box):
    alone, relayed = (box.run(uses_every_collective, 4, relay=relay) for relay in (False, True))
    assert (alone.status, relayed.status) == ("ok", "ok"), relayed
    assert str(relayed.values) == str(alone.values)
    assert sorted(relayed.put_in) == put_in(relayed.run) == put_in(alone.run)
    assert relayed.loopback_bytes == 0 < alone.loopback_bytes


def meets_in_secret(me):
    if me.rank == 0:
        listening = socket.create_server(("127.0.0.1", 29500))
        listening.settimeout(3)
        try:
            return bool(listening.accept())
        except TimeoutError:
            return False
    give_up_s = time.monotonic() + 2
    while time.monotonic() < give_up_s:
        try:
            return bool(socket.create_connection(("127.0.0.1", 29500), 1))
        except OSError:
            time.sleep(0.05)
    return False


@boxed
@pytest.mark.parametrize("relay, met", [(True, False), (False, True)])
def test_only_without_the_relay_can_ranks_meet_elsewhere(box, relay, met):
    assert set(box.run(meets_in_secret, 2, relay=relay).values.values()) == {met}


SECRET = 4242
_FLOCK = "hhqqi4x"  # type, whence, start, length, pid: <fcntl.h>


def moves_in_a_file(me):
    """Send information by the position in an open file that both ranks received."""
    import torch.distributed as dist

    handed = []
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            handed.append((os.lseek(descriptor, 0, os.SEEK_CUR), descriptor)[1])
    dist.barrier()
    for descriptor in handed if me.rank == 0 else ():
        os.lseek(descriptor, SECRET, os.SEEK_SET)
    dist.barrier()
    stands = [os.lseek(descriptor, 0, os.SEEK_CUR) for descriptor in handed]
    return me.rank == 1 and SECRET in stands


def locks_a_place(me):
    """Send information by a lock on one byte of a file that both ranks may read."""
    import torch.distributed as dist

    with open("/etc/passwd") as file:
        if me.rank == 0:
            with contextlib.suppress(OSError):
                fcntl.lockf(file, fcntl.LOCK_SH, 1, SECRET)
        dist.barrier()
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        told = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
        dist.barrier()
        return me.rank == 1 and told[2] == SECRET


def opens_what_is_watched(me):
    """Send information by opening one of several files that both ranks may read and watch."""
    import torch.distributed as dist

    watch = ctypes.CDLL(None).inotify_init1(os.O_NONBLOCK)
    ctypes.CDLL(None).inotify_add_watch(watch, b"/etc/passwd", 0x20)
    dist.barrier()
    if me.rank == 0:
        open("/etc/passwd").close()
    dist.barrier()
    try:
        return me.rank == 1 and bool(os.read(watch, 100))
    except OSError:
        return False


@boxed
@pytest.mark.parametrize("whisper", [moves_in_a_file, locks_a_place, opens_what_is_watched])
def test_ranks_apart_tell_one_another_nothing_but_by_messages(box, whisper):
    done = box.run(whisper, 2, relay=True)
    assert (done.status, done.values) == ("ok", {0: False, 1: False}), done


def files_within_reach(me):
    """Return the open files of every process that this process can inspect, and so take over."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            names = [f"/proc/{pid}/fd/{number}" for number in os.listdir(f"/proc/{pid}/fd")]
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    found.add(os.readlink(name))
    return sorted(found)


@boxed
@pytest.mark.parametrize("relay", [True, False])
def test_no_file_outside_the_box_is_within_reach(box, relay):
    (found,) = box.run(files_within_reach, 1, relay=relay).values.values()
    of_the_box = ("pipe:", "socket:", "anon_inode:", "/memfd:", "/proc/", os.devnull)
    assert found and not [name for name in found if not name.startswith(of_the_box)]


def fills(folder, nbytes):
    def fill(me):
        with open(f"{folder}/file", "wb") as file:
            for _ in range(nbytes >> 20):
                file.write(bytes(1 << 20))
        time.sleep(1000)

    return fill


@boxed
@pytest.mark.parametrize(
    "folder, nbytes, status",
    [("/tmp", 150 << 20, "oom"), ("/dev/shm", 150 << 20, "oom"), ("/tmp", 1 << 20, "timeout")],
)
def test_files_of_ranks_apart_count_as_memory_of_the_set(box, folder, nbytes, status):
    limits = Limits(
        timeout_s=3 if status == "timeout" else 60, memory_bytes=500 << 20, file_bytes=1 << 30,
        scratch_bytes=1 << 30, shared_bytes=1 << 30,
    )  # fmt: skip
    assert box.run(fills(folder, nbytes), 4, relay=True, limits=limits).status == status


FORGED = {
    "larger than a message may be": (DATA, 1, 0, 1, 2**40),
    "to nobody": (DATA, 9, 0, 1, 0),
    "to itself": (DATA, 0, 0, 1, 0),
    "a number that is something else": (DATA, 1, 0, 4242, 0),
    "thanks for nothing, which nobody counts": (TAKEN, 1, 4242, 4242, 0),
    "a collective that nobody knows": (COLLECTIVE, 0, 99, 1, 0),
    "a collective with a number that is something else": (COLLECTIVE, 0, 0, 4242, 0),
    "an operation below zero": (COLLECTIVE, 0, -5 << 16, 1, 0),
    "an all-to-all without lengths": (COLLECTIVE, 0, NAMES.index("all_to_all"), 1, 0),
}


@pytest.mark.parametrize("frame", FORGED.values(), ids=FORGED)
def test_a_forged_frame_closes_that_line_only(frame):
    relay = Relay(3)
    lines = [RelayLink(sock) for sock in relay.theirs]
    lines[0].sock.settimeout(5)
    lines[0].sock.sendall(HEADER.pack(*frame))
    assert lines[0].sock.recv(1) == b""
    lines[1].send(2, 5, b"abc")
    kept = []
    lines[2].wait(lines[2].receive(1, 5, kept.append))
    relay.close()
    assert (kept, relay.messages, relay.forged) == ([b"abc"], [(1, 2, 4)], {0})


@pytest.mark.parametrize("name", NAMES)
def test_a_collective_of_empty_tensors_ends(name):
    relay = Relay(2)
    lines, kept = [RelayLink(sock) for sock in relay.theirs], []
    data = bytes(PARTS.size * 2) if name == "all_to_all" else b""
    pending = [line.collective((NAMES.index(name), 0, 0), 0, data, kept.append) for line in lines]
    for line, one in zip(lines, pending):
        line.sock.settimeout(5)
        line.wait(one)
    relay.close()
    assert kept == [b"", b""] and [entry[1:] for entry in relay.put_in] == [(name, 0)] * 2


def test_a_flood_of_collectives_that_nobody_joins_takes_little_time():
    """If each one took time in proportion to those before it, this test would exceed its limit."""
    relay, many = Relay(2), 150_000
    relay.theirs[0].sendall(b"".join(HEADER.pack(COLLECTIVE, 0, 0, n + 1, 0) for n in range(many)))
    line = RelayLink(relay.theirs[1])
    line.wait(line.collective((0, 0, 0), 0, b"", lambda data: None))
    relay.close()
    assert relay.forged == set() and relay.put_in[0] == (0, "all_reduce", 0)


def test_the_tag_of_an_empty_message_counts():
    relay = Relay(2)
    line = RelayLink(relay.theirs[0])
    for data in (b"", b"abc", bytes(8)):
        line.send(1, 4242, data)
    line.barrier(), RelayLink(relay.theirs[1]).barrier()
    line.wait(line._barriers[0])
    relay.close()
    assert relay.messages == [(0, 1, 4), (0, 1, 4), (0, 1, 8)]


def test_parts_that_do_not_fit_together_give_nobody_a_result():
    relay = Relay(2)
    lines = [RelayLink(sock) for sock in relay.theirs]
    for line, data in zip(lines, (bytes(8), bytes(4)), strict=True):
        line.collective((0, 0, 0), 0, data, pytest.fail)
    lines[1].send(0, 5, b"abc")
    kept = []
    lines[0].wait(lines[0].receive(1, 5, kept.append))
    relay.close()
    assert kept == [b"abc"]
    assert sorted(relay.put_in) == [(0, "all_reduce", 8), (1, "all_reduce", 4), (1, "send", 4)]


def test_an_all_reduce_tells_a_rank_the_sum_and_nothing_else():
    relay = Relay(2)
    lines, kept = [RelayLink(sock) for sock in relay.theirs], []
    secret = np.float32([3, 4]).tobytes()
    pending = [line.collective((0, 0, 0), 0, data, kept.append)
               for line, data in zip(lines, (np.float32([1, 1]).tobytes(), secret))]  # fmt: skip
    for line, one in zip(lines, pending):
        line.wait(one)
    relay.close()
    assert kept == [np.float32([4, 5]).tobytes()] * 2

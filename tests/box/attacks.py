"""Hostile and broken answers. Each function runs on the ranks."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import sys
import threading
import time

from lablib.record import rows


def ignores_every_signal(me):
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def forks_without_end(me):
    while True:
        try:
            os.fork()
        except OSError:
            pass


def starts_threads_without_end(me):
    while True:
        threading.Thread(target=time.sleep, args=(100,)).start()


def takes_memory(me):
    kept = []
    while me.rank == 0:
        kept.append(bytearray(50 << 20))
    time.sleep(100)


def takes_memory_on_every_rank(me):
    kept = []
    while len(kept) < 40:  # 1.2 GB: one process may have this much
        kept.append(b"x" * (30 << 20))
        time.sleep(0.01)
    time.sleep(100)


def fills_shared_memory(me):
    with open("/dev/shm/file", "wb") as file:
        while True:
            file.write(bytes(1 << 20))


def fills_the_disk(me):
    for number in range(100):
        with open(f"file{number}", "wb") as file:
            for _ in range(10):
                file.write(bytes(1 << 20))


def takes_shared_memory(me):
    kept = []
    while me.rank == 0:
        kept.append(mmap.mmap(-1, 50 << 20))
        kept[-1].write(b"x" * (50 << 20))
    time.sleep(100)


def fills_files_that_are_in_no_folder(me):
    kept = []
    while len(kept) < 40:
        kept.append(os.memfd_create("file"))
        os.write(kept[-1], bytes(50 << 20))
    time.sleep(100)


def fills_what_waits_in_sockets(me):
    kept = []
    for _ in range(3):
        os.fork()
    while len(kept) < 200:
        kept.append(socket.socketpair())
        kept[-1][0].setblocking(False)
        try:
            while True:
                kept[-1][0].send(bytes(1 << 16))
        except BlockingIOError:
            pass
    time.sleep(100)


def fills_segments_that_nobody_has(me):
    library = ctypes.CDLL(None, use_errno=True)
    library.shmat.restype = ctypes.c_void_p
    for _ in range(40):
        segment = library.shmget(0, 50 << 20, 0o1600)
        if segment < 0:
            raise OSError(ctypes.get_errno(), "shmget")
        address = ctypes.c_void_p(library.shmat(segment, None, 0))
        ctypes.memset(address, 1, 50 << 20)
        library.shmdt(address)
    time.sleep(100)


def makes_semaphores_without_end(me):
    library = ctypes.CDLL(None, use_errno=True)
    for _ in range(100):
        if library.semget(0, 32_000, 0o600) < 0:  # 2 MB each
            raise OSError(ctypes.get_errno(), "semget")
    time.sleep(100)


def leaves_pages_in_pipes(me):
    page, (_, pipe) = mmap.mmap(-1, 1 << 12), os.pipe()
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    library = ctypes.CDLL(None, use_errno=True)
    pieces = (ctypes.c_size_t * 2)(address, 1 << 12)
    if library.vmsplice(pipe, pieces, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "vmsplice")


def writes_what_takes_for_ever_to_read(me):
    """Write a record that takes forever to read: each phase is compared with each wait."""
    many = range(4_000)
    me._recorder.rows += [rows.Issued(0, 0.0, "all_reduce", 4, (0,), "other", "", "c", 1)]
    me._recorder.rows += [rows.PhaseChanged(float(n), "forward") for n in many]
    me._recorder.rows += [rows.Waited(0, float(n), n + 0.5) for n in many]


def prints_one_long_line(me):
    print("x" * (60 << 20))


def prints_a_million_lines(me):
    if me.rank == 0:
        print(*range(10**6), sep="\n")
    return me.rank


def prints_as_programs_do(me):
    """Print 200,000 lines of 60 characters on each of 4 ranks: 48 MB together."""
    for _ in range(200):
        print(("x" * 60 + "\n") * 1000, end="")


def prints_what_is_no_text(me):
    os.write(1, b"\xff\xfe\x1b[31m<script>\0" * 1000)
    return 1


def burns_cpu(me):
    while me.rank == 0:
        pass
    time.sleep(100)


def bears_a_name_that_is_no_text(me):
    ctypes.CDLL(None).prctl(15, b"\xff\xfe:\n\xfd", 0, 0, 0)
    time.sleep(0.5)  # until the keeper has looked
    return me.rank


def crashes(me):
    ctypes.string_at(0)


def leaves_at_once(me):
    os._exit(0)


def leaves(me):
    sys.exit(0)


def kills_itself(me):
    os.kill(os.getpid(), signal.SIGKILL)


def kills_all(me):
    os.kill(-1, signal.SIGKILL)


def opens_files_without_end(me):
    kept = []
    while True:
        kept.append(open(os.devnull))


def answers_twice(me):
    from lablib.cluster.engine import messages, wire

    send = wire.send

    def send_twice(sock, message):
        send(sock, message)
        if isinstance(message, messages.Value):
            send(sock, messages.Value("forged"))

    wire.send = send_twice
    return "true"


def answers_late(me):
    from lablib.cluster.engine import messages, wire

    send = wire.send

    def send_more(sock, message):
        send(sock, message)
        if isinstance(message, messages.Record):
            send(sock, {"kind": "value", "value": "forged"})

    wire.send = send_more
    return "true"


def answers_after_its_end(me):
    from lablib.cluster.engine import wire

    frame = wire.pack({"kind": "value", "value": "forged"})
    if os.fork() == 0:
        while os.getppid() != 1:  # the first process adopts processes that a rank leaves behind
            time.sleep(0.01)
        for descriptor in range(3, 64):
            try:
                os.write(descriptor, len(frame).to_bytes(8, "big") + frame)
            except OSError:
                pass
        os._exit(0)
    return "true"


def returns_keys_that_are_not_plain(me):
    return {(0, 1): 2.0, 0.5: None}


def returns_too_many_elements(me):
    return [] if me.rank else list(range(5_000_000))


def returns_too_many_bytes(me):
    return b"" if me.rank else bytes(70 << 20)


def raises(me):
    raise KeyError("a case's input")


def skips_the_collective(me):
    import torch.distributed as dist

    if me.rank:
        dist.barrier()


def leaves_a_daemon(me):
    if me.rank == 0 and os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            listening = socket.create_server(("127.0.0.1", 29500))
            time.sleep(1000)
            listening.close()
        os._exit(0)
    time.sleep(0.2)
    return os.getpid()


def listens_on_a_fixed_port(me):
    if me.rank == 0:
        socket.create_server(("127.0.0.1", 29500)).close()
    return True


SENT_BYTES = 2 << 20


def sends_and_hides(hide):
    """Rank 0 sends itself 2 MB, then packets that would lower a count without headers."""

    def function(me):
        if me.rank:
            return
        with socket.create_server(("127.0.0.1", 0)) as server:
            with socket.create_connection(server.getsockname()) as sender:
                taker, _ = server.accept()
                thread = threading.Thread(target=sender.sendall, args=(bytes(SENT_BYTES),))
                thread.start()
                came = 0
                while came < SENT_BYTES:
                    came += len(taker.recv(1 << 16))
                thread.join()
                taker.close()
        hide()

    return function


def sends_empty_datagrams(family=socket.AF_INET, address="127.0.0.1"):
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        for _ in range(105_000):
            sock.sendto(b"", sock.getsockname())


def sends_empty_datagrams_of_ipv6():
    try:
        sends_empty_datagrams(socket.AF_INET6, "::1")
    except OSError:
        pass  # a computer without IPv6


def asks_closed_ports():
    for _ in range(20_000):
        with socket.socket() as sock:
            sock.connect_ex(("127.0.0.1", 9))


def sends_single_bytes():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as sender:
            taker, _ = server.accept()
            sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(20_000):
                sender.send(b"x")
            taker.close()


def opens_and_closes_connections():
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(5_000):
            socket.create_connection(server.getsockname()).close()
            server.accept()[0].close()

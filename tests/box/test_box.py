"""A learner's code in the box can harm that learner's exercise, but nothing else."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import attacks
import cloudpickle
import psutil
import pytest

from lablib import frameworks
from lablib.box import box as box_module
from lablib.box import limit_probes
from lablib.box.bounded_calls import bounded
from lablib.box.box import Box, containment, limits_held, probes
from lablib.box.limits import Limits
from lablib.cluster.engine import wire
from lablib.computer.facts import ROOT
from lablib.errors import LabError

pytestmark = [pytest.mark.needs("bubblewrap"), pytest.mark.timeout(120)]
# There are no tests in the box, so their functions must be pickled by value.
cloudpickle.register_pickle_by_value(attacks)
cloudpickle.register_pickle_by_value(sys.modules[__name__])
LIMITS = Limits(timeout_s=60, cpu_s=30, memory_bytes=1 << 30)


@pytest.fixture(scope="module", params=[1, 2], ids=["bubblewrap", "namespaces"])
def box(request):
    with Box("torch", limits=LIMITS, tier=request.param) as box:
        yield box


def sums(me):
    import torch
    import torch.distributed as dist

    ones = torch.ones(1 << 18)
    dist.all_reduce(ones)
    return float(ones[0])


def test_values_trace_and_the_bytes_that_crossed_the_loopback_come_back(box):
    done = box.run(sums, 4)
    assert (done.status, done.values) == ("ok", dict.fromkeys(range(4), 4.0))
    assert [op.name for op in done.run.program[0] if op.name] == ["all_reduce"]
    ring_bytes = 2 * 3 * (1 << 20)
    # Headers and acknowledgements count, and a busy computer sends more: 1.005 to 1.014 were
    # measured.
    assert ring_bytes < done.loopback_bytes < 1.04 * ring_bytes


HIDES = [
    attacks.sends_empty_datagrams,
    attacks.sends_empty_datagrams_of_ipv6,
    attacks.asks_closed_ports,
    attacks.sends_single_bytes,
    attacks.opens_and_closes_connections,
]


@pytest.mark.parametrize("hide", HIDES, ids=lambda hide: hide.__name__)
def test_no_packet_makes_the_bytes_on_the_loopback_fewer(box, hide):
    """Each packet is smaller than the headers of an ordinary one, which once hid bytes."""
    done = box.run(attacks.sends_and_hides(hide), 2)
    assert done.status == "ok", done
    assert done.loopback_bytes > attacks.SENT_BYTES


@pytest.mark.parametrize("cores, seen", [(1, 106), (2, 107), (8, 116), (32, 148), (192, 309)])
def test_tensorflow_may_start_its_threads_on_any_number_of_cores(cores, seen):
    assert seen < frameworks.get("tensorflow").threads_of_a_rank(cores) < 3 * seen


def test_the_box_counts_the_cores_of_this_computer(box, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 100)
    assert box.run(lambda me: me.rank, 2).status == "ok"
    assert box._engine.limits.of_framework == 2 * (8 + 100)


def sums_in_tensorflow(me, mine):
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    @tf.function
    def summed(x):
        def add(x):
            return tf.distribute.get_replica_context().all_reduce("sum", tf.identity(x))

        return strategy.run(add, args=(x,))

    return float(summed(tf.fill([1000], mine))[0])


@pytest.mark.parametrize("tier", [1, 2])
def test_tensorflow_in_the_box_with_data_of_each_ranks_own(tier):
    with Box("tensorflow", limits=LIMITS, tier=tier) as box:
        done = box.run(sums_in_tensorflow, 2, own=[1.0, 10.0])
        assert (done.status, done.values) == ("ok", {0: 11.0, 1: 11.0}), done
        assert [op.name for op in done.run.program[0] if op.kind == "issue"] == ["all_reduce"]
        assert done.loopback_bytes > 2 * 4000
        assert box.run(attacks.leaves_at_once, 2).status == "crash"
        assert box.run(sums_in_tensorflow, 2, own=[2.0, 3.0]).values == {0: 5.0, 1: 5.0}


FATES = [
    (attacks.ignores_every_signal, "timeout"),
    (attacks.forks_without_end, "processes timeout"),  # on a busy computer, either is possible
    (attacks.starts_threads_without_end, "processes"),
    (attacks.burns_cpu, "cpu"),
    (attacks.takes_memory, "oom"),
    (attacks.takes_memory_on_every_rank, "oom"),
    (attacks.takes_shared_memory, "oom"),
    (attacks.fills_files_that_are_in_no_folder, "error"),
    (attacks.fills_segments_that_nobody_has, "error"),
    (attacks.fills_what_waits_in_sockets, "oom"),
    (attacks.makes_semaphores_without_end, "error"),
    (attacks.leaves_pages_in_pipes, "error"),
    (attacks.fills_shared_memory, "disk"),
    (attacks.fills_the_disk, "disk"),
    (attacks.opens_files_without_end, "error"),
    (attacks.prints_one_long_line, "output"),
    (attacks.prints_a_million_lines, "ok"),
    (attacks.prints_as_programs_do, "ok"),
    (attacks.prints_what_is_no_text, "ok"),
    (attacks.bears_a_name_that_is_no_text, "ok"),
    (attacks.crashes, "crash"),
    (attacks.leaves_at_once, "crash"),
    (attacks.kills_itself, "crash"),
    (attacks.kills_all, "crash"),
    (attacks.leaves, "error"),
    (attacks.raises, "error"),
    (attacks.returns_keys_that_are_not_plain, "error"),
    (attacks.returns_too_many_elements, "error"),
    (attacks.returns_too_many_bytes, "error"),
    (attacks.answers_twice, "forged"),
    (attacks.answers_late, "ok forged"),  # either is possible: the grader may still be listening
    (attacks.answers_after_its_end, "ok forged"),
    (attacks.skips_the_collective, "hang"),
    (attacks.leaves_a_daemon, "ok"),
]


@pytest.mark.parametrize("attack, status", FATES, ids=lambda part: getattr(part, "__name__", part))
def test_an_attack_ends_with_its_status_and_the_next_exercise_passes(box, attack, status):
    time_is_up = "timeout" in status
    limits = replace(LIMITS, timeout_s=4 if time_is_up else 60, cpu_s=1 if status == "cpu" else 30)
    done = box.run(attack, 4, limits=limits)
    assert done.status in status.split(), done
    assert "a case's input" not in done.reason
    assert "forged" not in done.values.values()
    assert all(len(log) <= LIMITS.kept_bytes for log in done.logs)
    assert box.run(attacks.listens_on_a_fixed_port, 2).status == "ok"


def test_a_record_that_takes_for_ever_to_be_read_is_given_up(box, monkeypatch):
    monkeypatch.setattr(box_module, "bounded", lambda: bounded(seconds=0.5))
    done = box.run(attacks.writes_what_takes_for_ever_to_read, 1)
    assert (done.status, done.run) == ("forged", None) and "TooMuch" in done.detail
    assert box.run(attacks.listens_on_a_fixed_port, 2).status == "ok"


def dies_first_and_leaves_nothing(me):
    import resource

    with open("/proc/self/oom_score_adj") as file:
        return int(file.read()), list(resource.getrlimit(resource.RLIMIT_CORE))


@pytest.mark.parametrize("relay", [False, True])
def test_a_rank_goes_first_and_starts_no_program_that_takes_dumps(box, relay):
    assert box.run(dies_first_and_leaves_nothing, 1, relay=relay).values == {0: (1000, [1, 1])}


def test_nothing_of_an_exercise_is_alive_after_it(box):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    box.run(attacks.leaves_a_daemon, 2)
    assert {child.pid for child in psutil.Process().children(recursive=True)} == before


def looks_around(me):
    def text(path):
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            return error.errno

    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    return {
        "course": os.path.exists(me_root) or os.path.exists(home),
        "environments": [text(f"/proc/{pid}/environ") for pid in pids],
        "processes": len(pids),
        "user": os.getuid(),
    }


def reads_what_is_this_computers(me):
    import socket

    names = ["cmdline", "version", "sys/kernel/random/boot_id", "config.gz", "sys/kernel/hostname"]
    found = {}
    for name in names:
        with contextlib.suppress(OSError), open(f"/proc/{name}", "rb") as file:
            found[name] = file.read(1000)
    return socket.gethostname(), os.uname().nodename, found


@pytest.mark.parametrize("relay", [False, True])
def test_it_does_not_see_whose_computer_it_is_on(box, relay):
    run = box.run(reads_what_is_this_computers, 2, relay=relay)
    assert len(run.values) == 2
    for host, node, found in run.values.values():
        assert host == node == "localhost"
        assert set(found.values()) <= {b"", b"localhost\n"}


def test_that_claim_about_the_computer_can_fail():
    _, _, found = reads_what_is_this_computers(None)
    assert not set(found.values()) <= {b"", b"localhost\n"}


home = os.path.expanduser("~/.bashrc")
me_root = os.path.join(os.path.dirname(__file__), "attacks.py")


def test_it_sees_no_course_no_home_no_environment_and_no_other_process(box, monkeypatch):
    seen = box.run(looks_around, 2).values[0]
    assert not seen["course"]
    assert not any(b"LABLIB" in text for text in seen["environments"] if isinstance(text, bytes))
    assert seen["processes"] == 3  # the set's first process, and two ranks
    assert seen["user"] != 0


def test_that_claim_can_fail():
    class Me:
        pass

    seen = looks_around(Me())
    assert seen["course"] and seen["processes"] > 3


AS_ORDINARY_USER = """
import os, sys
from lablib.box.box import Box
from lablib.box.limits import Limits

def threads(me):
    import threading, time
    while True:
        threading.Thread(target=time.sleep, args=(100,)).start()

for tier in (1, 2):
    with Box("torch", limits=Limits(timeout_s=20), tier=tier) as box:
        print(tier, os.getuid(), box.run(lambda me: me.rank, 2).status, box.run(threads, 2).status)
"""


def test_it_holds_for_an_ordinary_user_too(tmp_path):
    """Try it as root with a user number that nobody counts, and as an ordinary user who may not
    enter root's folders.
    """
    script = tmp_path / "script.py"
    script.write_text(AS_ORDINARY_USER)
    os.chmod(tmp_path, 0o755)
    opened, become = opened_for_all(tmp_path), "setpriv --reuid 65534 --regid 65534 --clear-groups"
    if os.getuid() != 0:
        opened = become = ""  # the other tests have already run as an ordinary user
    run = f"HOME=/nonexistent TMPDIR=/dev/shm exec {become} {sys.executable} - < {script}"
    done = subprocess.run(
        [*(["unshare", "-m"] if opened else []), "sh", "-c", opened + run],
        capture_output=True, text=True, timeout=100, cwd="/",
    )  # fmt: skip
    user = os.getuid() or 65534
    expected = [f"{tier} {user} ok processes" for tier in (1, 2)]
    assert done.stdout.splitlines() == expected, done.stderr


def opened_for_all(kept):
    """Return mount commands that let every user reach the kit and its Python.

    A folder that only root may enter is covered by a folder that contains nothing else.
    """
    keep, cover, back = [], {}, []
    for number, folder in enumerate(map(os.path.realpath, (ROOT, sys.prefix, sys.base_prefix))):
        above = [*reversed(Path(folder).parents), Path(folder)]
        closed = next((path for path in above if not path.stat().st_mode & 1), None)
        if closed:
            aside = kept / str(number)
            aside.mkdir()
            keep.append(f"mount --bind {folder} {aside}")
            cover[closed] = f"mount -t tmpfs -o mode=755 none {closed}"
            back.append(f"mkdir -p {folder} && mount --bind {aside} {folder}")
    return "".join(f"{command} && " for command in (*keep, *cover.values(), *back))


@pytest.mark.parametrize("tier", [1, 2])
def test_each_limit_is_tried_and_holds(tier):
    held = limits_held(tier)
    assert len(held) == 10 and all(held.values()), held
    assert {row.state for row in probes()} == {"ok"}


def test_that_a_limit_that_does_not_hold_would_be_told():
    assert not limit_probes._in_a_child(
        limit_probes._TRIALS["open files"], replace(LIMITS, open_files=8)
    )


def test_doctor_names_the_limit_that_does_not_hold_and_grading_refuses(monkeypatch):
    held = {"open files": True, "processes": False}
    monkeypatch.setattr("lablib.box.box.limits_held", lambda tier: held)
    row, open_files, processes = probes()
    assert (row.name, row.state) == ("containment", "missing") and "processes" in row.found
    assert (open_files.state, processes.state) == ("ok", "missing") and processes.cure
    with pytest.raises(LabError, match="no working sandbox"):
        containment()


def test_an_interrupted_question_is_not_answered_to_the_next_one(box, monkeypatch):
    def interrupted(sock):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        fake = SimpleNamespace(send=wire.send, receive=interrupted)
        patch.setattr("lablib.box.engine.wire", fake)
        with pytest.raises(KeyboardInterrupt):
            box.run(attacks.prints_what_is_no_text, 2)
    assert box.run(attacks.prints_what_is_no_text, 2).status == "ok"


def waits(me):
    time.sleep(100)


def keeper_process():
    """Return the box's own process among the processes that this one has started."""
    started = psutil.Process().children(recursive=True)
    return next(one for one in started if one.cmdline()[3:4] == ["lablib.box.keeper"])


def test_the_death_of_the_keeper_is_told_and_the_next_exercise_passes(box):
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(box.run, waits, 2)
        keeper = keeper_process()
        while len(keeper.children(recursive=True)) < 3:  # the set's first process, and two ranks
            time.sleep(0.01)
        keeper.kill()
        with pytest.raises(LabError, match="The sandbox for grading does not work"):
            running.result()
    assert box.run(sums, 2).status == "ok"


_STOPPED = """
import os, signal, sys
import psutil
from lablib.box.engine import BoxEngine
from lablib.box.limits import Limits
engine = BoxEngine("torch", int(sys.argv[1]), Limits())
me, inside = psutil.Process(), ()
while len(inside) < 2 or inside[-1].uids().real == 0 == os.getuid():
    inside = me.children(recursive=True)
os.kill(inside[-1].pid, signal.SIGSTOP)
print(*(process.pid for process in inside), flush=True)
signal.pause()
"""


@pytest.mark.parametrize("tier", [1, 2])
def test_a_box_that_cannot_notice_it_ends_with_its_grader(tier, tmp_path):
    """A stopped box notices nothing, like a box that imports a framework."""
    grader = subprocess.Popen(
        [sys.executable, "-c", _STOPPED, str(tier)], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    with grader:
        inside = [psutil.Process(int(pid)) for pid in grader.stdout.readline().split()]
        grader.kill()
    _, left = psutil.wait_procs(inside, timeout=10)
    for process in left:
        process.kill()
    assert len(inside) >= 2 and not left

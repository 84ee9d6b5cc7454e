"""Real processes: fresh for every run, fairly threaded, on loopback only, leaving nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import jobs
import psutil
import pytest

import lablib as lab
from lablib.cluster.local import launch

BOTH = ("torch", "tensorflow")
HERE = Path(__file__).parent


@pytest.mark.parametrize("framework", BOTH)
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_an_all_reduce_gives_every_rank_the_sum(framework, ranks):
    run = lab.Cluster(ranks, framework=framework).run(jobs.total)
    assert run.values == [float(sum(range(ranks)))] * ranks


def test_a_function_that_is_in_no_module_travels_with_what_it_uses():
    scale = 3

    def scaled(me):
        return scale * me.rank

    assert lab.Cluster(2).run(scaled).values == [0, 3]


def test_ranks_are_fresh_for_every_run():
    cluster = lab.Cluster(2)
    assert cluster.run(jobs.leaks).values == cluster.run(jobs.leaks).values == [False, False]


@pytest.mark.parametrize("framework", BOTH)
def test_every_pool_of_a_rank_has_its_share_of_threads(framework):
    run = lab.Cluster(2, framework=framework, threads=1).run(jobs.threads)
    assert run.values == [{1}, {1}]


@pytest.mark.parametrize("threads, start_operations", [(1, 2), (3, 3)])
def test_a_server_in_a_rank_has_no_more_threads_than_its_rank(threads, start_operations):
    cluster = lab.Cluster(1, framework="tensorflow", threads=threads)
    assert cluster.run(jobs.threads_of_a_server).values == [(threads, start_operations)]


def test_the_share_of_threads_can_be_chosen():
    assert 2 in lab.Cluster(1, threads=2).run(jobs.threads).values[0]


def test_torch_listens_on_loopback_only():
    for addresses in lab.Cluster(2).run(jobs.listens).values:
        assert set(addresses) <= {"127.0.0.1"}


def test_tensorflow_listens_where_nobody_else_is():
    run = lab.Cluster(2, framework="tensorflow").run(jobs.listens)
    assert run.values[0] == ["::"], "TensorFlow has learnt to listen on loopback: see the README"
    assert not launch._zygotes["tensorflow"].shared_network, "and here that is every interface"


def test_roles_with_a_chief_and_parameter_servers():
    cluster = lab.Cluster(roles={"chief": 1, "worker": 2, "ps": 1}, framework="tensorflow")
    assert cluster.run(jobs.counts_on_parameter_servers).values == [5.0, None, None, None]


def test_an_evaluator_runs_the_function_too():
    cluster = lab.Cluster(roles={"worker": 1, "evaluator": 1}, framework="tensorflow")
    assert cluster.run(jobs.evaluates).values == ["worker", "evaluator"]


def test_nodes_have_addresses_of_their_own_in_tensorflow():
    run = lab.Cluster(2, nodes=2, framework="tensorflow").run(jobs.tf_config)
    hosts = [a.split(":")[0] for a in json.loads(run.values[0])["cluster"]["worker"]]
    assert hosts == ["127.0.0.1", "127.0.0.2"]


def test_a_run_brings_back_values_logs_steps_and_metrics():
    run = lab.Cluster(2, timeout_s=60).run(jobs.steps)
    assert run.values == [[0, 1, 2, 3], [4, 5, 6]]
    assert run.logs[1] == "done 1\n"
    assert run.metrics.loc[1, "steps"] == 3
    assert run.metrics.loc[1, "loss"] == pytest.approx(1 / 3)
    assert (run.metrics.cpu_s > 0).all() and (run.metrics.peak_bytes > 1e6).all()
    assert [entry["loss"] for entry in run.logged[0]] == pytest.approx([1, 1 / 2, 1 / 3])
    assert run.clock == "measured"
    assert [event.name for event in run.trace.of(rank=0, kind="mark")] == ["end"]


def test_every_kind_of_message_is_an_event_with_its_bytes_group_and_line():
    run = lab.Cluster(4).run(jobs.talks)
    seen = {}
    for event in run.trace.of(rank=0, kind="message"):
        assert event.end_s >= event.start_s
        assert "jobs.py, line" in event.line
        seen.setdefault((event.name, event.group), []).append(event.nbytes)
    everyone = (0, 1, 2, 3)
    assert seen[("all_reduce", everyone)] == [40]
    assert seen[("all_reduce", (0, 1))] == [40]
    assert seen[("broadcast", everyone)] == [40]
    assert seen[("all_gather", everyone)] == [40]
    assert seen[("reduce_scatter", everyone)] == [160]
    assert seen[("all_to_all", everyone)] == [48]
    assert seen[("barrier", everyone)] == [0]
    assert seen[("send", (0, 1))] == [40]


def test_equal_runs_write_equal_programs():
    counted = lab.Cluster(4, hardware="dgx-a100")
    assert counted.run(jobs.talks).program == counted.run(jobs.talks).program
    measured = lab.Cluster(4)
    assert timeless(measured.run(jobs.talks)) == timeless(measured.run(jobs.talks))


def timeless(run):
    """Return what the ranks did, without the CPU seconds, which differ between runs."""
    return [[replace(op, cpu_s=0) for op in ops] for ops in run.program]


def test_different_runs_write_different_programs():
    cluster = lab.Cluster(4)
    assert timeless(cluster.run(jobs.talks)) != timeless(cluster.run(jobs.total))


def test_echo_prints_the_ranks_lines_on_stdout(capsys):
    lab.Cluster(2, echo=True).run(jobs.steps)
    out = capsys.readouterr().out
    assert "[rank 0] done 0" in out and "[rank 1] done 1" in out


def test_a_closed_cluster_says_so_and_closing_twice_is_harmless():
    cluster = lab.Cluster(2)
    cluster.close()
    cluster.close()
    with pytest.raises(lab.LabError, match="closed"):
        cluster.run(jobs.who)


def test_what_a_cell_shows_of_a_cluster():
    cluster = lab.Cluster(4, nodes=2)
    assert repr(cluster) == "<Cluster of 4 ranks on 2 nodes, torch, open>"
    pids = cluster.run(jobs.who).values
    assert [row["pid"] for row in cluster.states] == pids
    assert [row["state"] for row in cluster.states] == ["returned"] * 4
    assert cluster._repr_html_().count("<tr>") == 5


def test_100_runs_in_a_row_leave_nothing_behind():
    cluster = lab.Cluster(2)
    cluster.run(jobs.who)
    me, zygote = psutil.Process(), launch._zygotes["torch"]
    its = psutil.Process(zygote.process.pid)

    def held():
        files = len(list(zygote.folder.iterdir()))
        return me.num_fds(), its.num_fds(), len(its.children()), files

    before = held()
    for _ in range(100):
        assert cluster.run(jobs.who).values
    assert held() == before


def test_two_clusters_at_once_in_one_kernel():
    values = {}

    def use(framework):
        cluster, name = lab.Cluster(2, framework=framework), threading.current_thread().name
        values[name] = [cluster.run(jobs.total).values for _ in range(5)]

    used = ["torch", "tensorflow", "torch"]
    threads = [threading.Thread(target=use, args=(framework,)) for framework in used]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(values.values()) == [[[1.0, 1.0]] * 5] * 3


KERNEL = """
import sys; sys.path.insert(0, {here!r})
import jobs, lablib as lab
cluster = lab.Cluster(2, framework={framework!r})
print(cluster.run(jobs.total).values, flush=True)
print(lab.cluster.local.launch._zygotes[{framework!r}].folder, flush=True)
{then}
"""


def kernel(framework, then):
    code = KERNEL.format(here=str(HERE), framework=framework, then=then)
    package = str(Path(lab.__file__).parents[1])
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                            env=os.environ | {"PYTHONPATH": package})  # fmt: skip


def test_two_kernels_at_once():
    kernels = [kernel("tensorflow", "") for _ in range(2)]
    outputs = [process.communicate(timeout=100)[0].splitlines() for process in kernels]
    assert [lines[0] for lines in outputs] == ["[1.0, 1.0]"] * 2


@pytest.mark.parametrize("framework", BOTH)
def test_a_killed_kernel_leaves_no_process_and_no_file(framework):
    process = kernel(framework, "cluster.run(jobs.sleeps)")
    values, folder = process.stdout.readline(), Path(process.stdout.readline().strip())
    assert values == "[1.0, 1.0]\n"
    until_s = time.monotonic() + 30
    while not list(folder.glob("run-*/rank1.board")):
        assert time.monotonic() < until_s
        time.sleep(0.05)
    its = psutil.Process(process.pid).children(recursive=True)
    assert len(its) == 3  # the zygote and two ranks
    process.send_signal(signal.SIGKILL)
    process.wait()
    gone, alive = psutil.wait_procs(its, timeout=10)
    assert not alive
    until_s = time.monotonic() + 10
    while folder.exists() and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not folder.exists()
    process.stdout.close()


IMPORTS_FOREVER = """
import ctypes, os
print("importing", os.getpid(), flush=True)  # to the zygote's log
ctypes.PyDLL(None).sleep(100)  # a call that holds the interpreter, as loading a library does
"""
DIES_DURING_THE_IMPORT = """
import threading, lablib as lab
thread = threading.Thread(target=lambda: lab.Cluster(2, framework={framework!r}))
thread.start()
thread.join()  # the zygote does not depend on the thread that started it
print(lab.cluster.local.launch._zygotes[{framework!r}].folder, flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("framework", BOTH)
def test_a_kernel_killed_during_the_import_leaves_no_process_and_no_file(framework, tmp_path):
    (tmp_path / f"{framework}.py").write_text(IMPORTS_FOREVER)
    code = DIES_DURING_THE_IMPORT.format(framework=framework)
    path = os.pathsep.join([str(Path(lab.__file__).parents[1]), str(tmp_path)])
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                          env=os.environ | {"PYTHONPATH": path}) as process:  # fmt: skip
        folder = Path(process.stdout.readline().strip())
        until_s = time.monotonic() + 30
        while "importing" not in (folder / "zygote.log").read_text():
            assert time.monotonic() < until_s
            time.sleep(0.05)
        its = psutil.Process(process.pid).children(recursive=True)
        assert len(its) == 2  # the zygote and its watcher
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(its, timeout=2)
    assert not alive
    assert not folder.exists()


def test_where_forking_is_not_safe_ranks_are_spawned_and_do_the_same(monkeypatch):
    monkeypatch.setenv("LABLIB_START", "spawn")
    run = lab.Cluster(2, timeout_s=100).run(jobs.total)
    assert run.values == [1.0, 1.0]
    with pytest.raises(lab.RankFailed, match="rank 1 of 2 raised ValueError"):
        lab.Cluster(2, timeout_s=100).run(jobs.raises_on_rank_1)

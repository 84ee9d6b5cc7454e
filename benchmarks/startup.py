"""Measure how soon ranks run: warm, cold, and compared with the frameworks' own launchers.

python benchmarks/startup.py
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

import psutil
from _paired import Claim, in_turn, ratio, refusal, report, seconds, spread

import lablib as lab
from lablib.cluster.local import launch

HERE = Path(__file__).parent
QUIET = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


def torch_sum(me):
    import torch
    import torch.distributed as dist

    x = torch.full((1000,), float(me.rank))
    dist.all_reduce(x)
    return x[0].item()


def tensorflow_sum(me):
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    @tf.function
    def summed(x):
        def add(x):
            return tf.distribute.get_replica_context().all_reduce("sum", tf.identity(x))

        return strategy.run(add, args=(x,))

    return float(summed(tf.fill([1000], float(me.rank)))[0])


def torchrun():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"]
    subprocess.run([*command, HERE / "_plain_torch.py"], check=True, env=os.environ | QUIET,
                   capture_output=True)  # fmt: skip


def two_plain_workers():
    with socket.socket() as a, socket.socket() as b:
        a.bind(("127.0.0.1", 0)), b.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in (a, b)]
    started = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": workers}, "task": task})
        env = os.environ | QUIET | {"TF_CONFIG": config}
        command = [sys.executable, HERE / "_plain_tensorflow.py"]
        started.append(subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL))
    assert [process.wait() for process in started] == [0, 0]


def first_run(framework):
    """Return the seconds from a kernel that has done nothing to the first result."""
    work = {"torch": torch_sum, "tensorflow": tensorflow_sum}[framework]
    launch.close_all()
    lab.Cluster(2, framework=framework).run(work)


def plain_import(module):
    quiet = os.environ | QUIET
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, env=quiet,
                   capture_output=True)  # fmt: skip


def sixteen():
    """Return (seconds of a 16-rank run, the most memory that its ranks held together, as PSS)."""

    def stays(me):
        import time

        torch_sum(me)
        until_s = time.monotonic() + 3
        while time.monotonic() < until_s:
            time.sleep(0.01)

    cluster = lab.Cluster(16)
    took_s = min(seconds(lambda: cluster.run(torch_sum)) for _ in range(3))
    most = 0

    def look(boards):
        nonlocal most
        if [board.get("state") for board in boards] == ["running"] * 16:
            pids = cluster._ranks.pids.values()
            most = max(most, sum(psutil.Process(pid).memory_full_info().pss for pid in pids))

    look.close = lambda: None
    cluster.run(stays, watch=look)
    return took_s, most


def main():
    notes, claims = [], []
    four, two = lab.Cluster(4), lab.Cluster(2, framework="tensorflow")
    # The zygote imports while it is idle.
    four.run(torch_sum), two.run(tensorflow_sum), time.sleep(3)
    four.run(torch_sum)
    warm, own = in_turn(lambda: four.run(torch_sum), torchrun, 5)
    notes += [f"torch, 4 ranks, warm: {spread(warm)}", f"torchrun, the same: {spread(own)}"]
    claims.append(Claim("torch, 4 ranks, warm, seconds", median(warm), 0.25))
    claims.append(Claim("times faster than torchrun", ratio(own, warm), 25, at_most=False))
    warm, own = in_turn(lambda: two.run(tensorflow_sum), two_plain_workers, 5)
    notes += [f"tensorflow, 2 workers, warm: {spread(warm)}", f"two plain ones: {spread(own)}"]
    claims.append(Claim("tensorflow, 2 workers, warm, seconds", median(warm), 0.6))
    claims.append(Claim("times faster than plain", ratio(own, warm), 12, at_most=False))
    for framework, module in (("torch", "torch.distributed"), ("tensorflow", "tensorflow")):
        cold, bare = in_turn(partial(first_run, framework), partial(plain_import, module), 5)
        notes += [f"{framework}, first run: {spread(cold)}", f"import {module}: {spread(bare)}"]
        claims.append(Claim(f"{framework}, first run / import", ratio(cold, bare), 1.5))
    took_s, pss_bytes = sixteen()
    claims.append(Claim("16 torch ranks, seconds", took_s, 1.0))
    claims.append(Claim("16 torch ranks, GiB (PSS)", pss_bytes / 2**30, 1.0))
    return report("start-up", claims, notes, refusal())


if __name__ == "__main__":
    sys.exit(main())

"""The model held against reality: steps that were measured, and the same program modelled.

python benchmarks/fidelity.py               this computer's loopback, and one slowed down
python benchmarks/fidelity.py --throttled   only inside a network that has been slowed down

Two ranks with one thread each train with data parallelism. The measured run's program is played
on `lab.Hardware.measure()`: its own CPU seconds, and the loopback's alpha and beta.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from statistics import median

from _paired import Claim, report

import lablib as lab
from lablib.cluster import launch
from lablib.progress_bars import bar
from lablib.record import metrics
from lablib.units import show_s

STRATEGIES = {"torch": "ddp", "tensorflow": "multi_worker_mirrored"}
TASKS = ("digits-cnn", "wide-mlp")
TIMES, STEPS = 5, 8
WITHIN = 0.15
RATE = "200mbit"
SLOW_DOWN = f"tc qdisc add dev lo root tbf rate {RATE} burst 128kb latency 2s"


def step_s(trace) -> float:
    """The median step of both ranks; the first two warm up."""
    return median(s for rank in range(2) for s in metrics.step_s(trace, rank)[2:])


def pair(task, framework, host) -> tuple[float, float]:
    """(measured, modelled) seconds of a step."""
    run = lab.train(
        STRATEGIES[framework], task=task, ranks=2, steps=STEPS, threads=1, progress=False
    )
    return step_s(run.trace), step_s(run.on(host).trace)


def claims(link: str):
    """A line for each framework and task: measured and modelled side by side."""
    notes, held = [], []
    with bar(f"loopback {link}", len(STRATEGIES) * TIMES, True) as progress:
        for framework in STRATEGIES:
            hosts, pairs = [], {task: [] for task in TASKS}
            for _ in range(TIMES):
                hosts.append(lab.Hardware.measure(framework))
                for task in TASKS:
                    pairs[task].append(pair(task, framework, hosts[-1]))
                progress.update()
            notes.append(f"loopback {link}, {framework}: {hosts[TIMES // 2].within}")
            for task, times in pairs.items():
                off = abs(median(modelled / measured for measured, modelled in times) - 1)
                seen = [show_s(median(column)) for column in zip(*times)]
                notes.append(f"  {task}: measured {seen[0]}, modelled {seen[1]} a step")
                held.append(Claim(f"{link}, {framework}, {task}: modelled is off by", off, WITHIN))
    return notes, held


def throttled() -> int:
    """Slow down both networks: this process's, and TensorFlow's own inside it."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(SLOW_DOWN.split(), check=True)
    zygote = launch.zygote("tensorflow")
    zygote.wait_ready()
    inside = ["nsenter", f"--net=/proc/{zygote.process.pid}/ns/net", *SLOW_DOWN.split()]
    subprocess.run(inside, check=True)
    notes, held = claims(f"at {RATE}")
    return report(f"Modelled and measured steps, loopback slowed to {RATE}", held, notes)


def slowed_down() -> int:
    """This file again, in a user and network namespace of its own, where there may be one."""
    own = ["unshare", "--user", "--map-root-user", "--net"]
    trial = f"ip link set lo up && {SLOW_DOWN}"
    lacks = [tool for tool in ("unshare", "ip", "tc", "nsenter") if not shutil.which(tool)]
    tried = None if lacks else subprocess.run([*own, "sh", "-c", trial], capture_output=True)
    if lacks or tried.returncode:
        why = f"no {', '.join(lacks)}" if lacks else tried.stderr.decode().strip()
        print(f"# Modelled and measured steps on a slowed loopback: not measured here ({why})")
        return 0
    return subprocess.run([*own, sys.executable, __file__, "--throttled"]).returncode


if __name__ == "__main__":
    if "--throttled" in sys.argv[1:]:
        sys.exit(throttled())
    notes, held = claims("as it is")
    status = report("Modelled and measured steps on this computer", held, notes)
    sys.exit(slowed_down() or status)

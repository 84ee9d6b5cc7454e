"""Compare the model with reality: measured steps, and the same program modelled.

  python benchmarks/fidelity.py               this computer's loopback, and a slower one
  python benchmarks/fidelity.py --throttled   only inside a network that has been slowed down

Two ranks with one thread each train with data parallelism. The program of the measured run is
simulated on `lab.Hardware.measure()`: its own CPU seconds, and the loopback's alpha and beta.

A rank that waits for a core takes longer than its CPU seconds, and the model cannot know by how
much. So only pairs are judged whose ranks had a core nearly all the time. Exit status 2: nothing
can be judged, because the computer is busy.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from statistics import median

from _paired import NOT_JUDGED, Claim, refusal, report

import lablib as lab
from lablib.cluster.local import launch
from lablib.progress_bars import bar
from lablib.record import metrics
from lablib.training import busy_computer
from lablib.units import show_s

STRATEGIES = {"torch": "ddp", "tensorflow": "multi_worker_mirrored"}
TASKS = ("digits-cnn", "wide-mlp")
TIMES, STEPS = 5, 8
WITHIN = 0.15
FAIR_SHARE, FEWEST = 0.9, 3
RATE = "200mbit"
SLOW_DOWN = f"tc qdisc add dev lo root tbf rate {RATE} burst 128kb latency 2s"


def step_s(trace) -> float:
    """Return the median step of both ranks; the first two steps are a warm-up."""
    return median(s for rank in range(2) for s in metrics.step_s(trace, rank)[2:])


@dataclass(frozen=True)
class Pair:
    """Seconds of a step, measured and modelled, and the share of time with a core.

    The share is that of the measured rank that had a core least often (`busy_computer.cpu_share`).
    """

    measured_s: float
    modelled_s: float
    cpu_share: float

    @property
    def ratio(self):
        return self.modelled_s / self.measured_s

    @property
    def fair(self):
        """True if ranks had a core: the model simulates CPU seconds and no waits for a core."""
        return self.cpu_share >= FAIR_SHARE


def pair(task, framework, host) -> Pair:
    run = lab.train(
        STRATEGIES[framework], task=task, ranks=2, steps=STEPS, threads=1, progress=False
    )
    share = min(busy_computer.cpu_share(run, rank) for rank in range(2))
    return Pair(step_s(run.trace), step_s(run.on(host).trace), share)


def judged(text: str, pairs: list[Pair]) -> tuple[list[str], list[Claim]]:
    """Return lines about the pairs, and the claim about those to be judged, at least three."""
    fair = [each for each in pairs if each.fair]
    shares = ", ".join(f"{each.cpu_share:.0%}" for each in pairs)
    notes = [f"  {text}: ranks had a core for {shares} of the time that they needed one"]
    if len(fair) < FEWEST:
        return [*notes, f"    not judged: fewer than {FEWEST} pairs with {FAIR_SHARE:.0%}"], []
    ratios = [each.ratio for each in fair]
    measured, modelled = (
        show_s(median(getattr(each, name) for each in fair))
        for name in ("measured_s", "modelled_s")
    )
    notes += [
        f"    measured {measured}, modelled {modelled} a step; modelled / measured "
        f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}, {len(fair)} pairs)"
    ]
    return notes, [Claim(f"{text}: modelled is off by", abs(median(ratios) - 1), WITHIN)]


def claims(link: str):
    """Yield a line for each framework and task with measured and modelled seconds."""
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
            for task, found in pairs.items():
                more, claim = judged(f"{link}, {framework}, {task}", found)
                notes, held = notes + more, held + claim
    return notes, held


def measured_and_judged(title: str, link: str) -> int:
    """Measure and report, unless the computer is busy before or afterwards."""
    if why := refusal():
        return report(title, [], [], f"{why} before the measurement")
    notes, held = claims(link)
    why = refusal()
    if why:
        return report(title, held, notes, f"{why} after the measurement")
    return report(title, held, notes, "" if held else "the ranks lacked cores")


def throttled() -> int:
    """Slow down both networks: this process's, and the one inside it for TensorFlow."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(SLOW_DOWN.split(), check=True)
    zygote = launch.zygote("tensorflow")
    zygote.wait_ready()
    inside = ["nsenter", f"--net=/proc/{zygote.process.pid}/ns/net", *SLOW_DOWN.split()]
    subprocess.run(inside, check=True)
    title = f"Modelled and measured steps, loopback slowed to {RATE}"
    return measured_and_judged(title, f"at {RATE}")


def slowed_down() -> int:
    """Run this file again in its own user and network namespace, if the system allows it."""
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
    status = measured_and_judged("Modelled and measured steps on this computer", "as it is")
    sys.exit(status if status == NOT_JUDGED else slowed_down() or status)

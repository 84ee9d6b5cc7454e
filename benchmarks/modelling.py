"""Measure the cost of modelled hardware: counting, 64 ranks, simulating, replaying.

python benchmarks/modelling.py
"""

from __future__ import annotations

import sys
import threading
from statistics import median

import psutil
from _paired import Claim, in_turn, ratio, refusal, report, seconds

import lablib as lab
from lablib.record.rows import StepEnded
from lablib.record.simulator import simulate

HARDWARE = "ethernet-10"
STEPS, PAIRS = 100, 9
COUNTED = {"torch": "ddp", "tensorflow": "multi_worker_mirrored"}


def operations(me):
    """Return microseconds that counting adds to each operation of a step, measured in turn."""
    import time

    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from lablib.frameworks.torch.costs import CountedCosts

    class Operations(TorchDispatchMode):
        number = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.number += 1
            return func(*args, **(kwargs or {}))

    task = lab.tasks.get("digits-mlp")
    model = task.torch_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    x, y = map(torch.from_numpy, task.batch_at(0))

    def step():
        optimizer.zero_grad()
        task.torch_loss(model(x), y).backward()
        optimizer.step()

    def step_us():
        start_s = time.perf_counter()
        for _ in range(STEPS):
            step()
        return (time.perf_counter() - start_s) / STEPS * 1e6

    step()
    with Operations() as operations:
        step()
    costs, added = CountedCosts(), []
    for _ in range(PAIRS):
        with costs:
            counted_us = step_us()
        added.append((counted_us - step_us()) / operations.number)
    return added


def wall_step_s(run) -> float:
    """Return the median step by the wall clock, even if the run has another clock."""
    rows = (row for record in run.records for row in record.rows)
    return median(row.end_s - row.start_s for row in rows if isinstance(row, StepEnded))


def step_ratios(framework: str) -> list[float]:
    """Return ratios of steps of digits-cnn on 2 ranks, with counting and without, in turn."""

    def step_s(hardware):
        return wall_step_s(
            lab.train(COUNTED[framework], framework=framework, task="digits-cnn", ranks=2, steps=12,
                      threads=1, hardware=hardware, progress=False)
        )  # fmt: skip

    step_s(None)  # so that imports are done
    return [step_s(HARDWARE) / step_s(None) for _ in range(PAIRS)]


class Memory:
    """The most memory (PSS) that this process's descendants held together inside the context."""

    def __enter__(self):
        self.most_bytes, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _look(self):
        while not self._over.wait(0.5):
            self.most_bytes = max(self.most_bytes, sum(map(_pss, psutil.Process().children(True))))


def _pss(process):
    try:
        return process.memory_full_info().pss
    except psutil.Error:
        return 0  # it has ended in the meantime


def main():
    us = lab.Cluster(1, threads=1).run(operations).values[0]
    steps = {framework: step_ratios(framework) for framework in COUNTED}
    runs = []

    def sixty_four():
        runs.append(lab.train("ddp", task="digits-mlp", ranks=64, steps=10, hardware=HARDWARE,
                              progress=False))  # fmt: skip

    with Memory() as memory:
        took_s = seconds(sixty_four)
    big = runs[0].program
    eight = lab.train("ddp", ranks=8, steps=20, batch=64, hardware=HARDWARE, progress=False)
    machines = [name for name in lab.hardware.names() if lab.hardware.get(name).ranks >= 8]
    lab.what_if(eight, machines)
    each, once = in_turn(lambda: lab.what_if(eight, machines), lambda: eight.on("t4"), PAIRS)
    claims = [
        Claim("counting an operation, us", median(us), 20),
        *(
            Claim(f"a step of digits-cnn on 2 {of} ranks, counted / bare", median(ratios), 1.3)
            for of, ratios in steps.items()
        ),
        Claim("64 ranks of digits-mlp, 10 steps, seconds", took_s, 30),
        Claim("64 ranks, GiB (PSS)", memory.most_bytes / 2**30, 6),
        Claim("simulating them, seconds", seconds(lambda: simulate(big, HARDWARE)), 2),
        Claim("what_if, 8 ranks, 20 steps, ms a machine", median(each) / len(machines) * 1e3, 50),
    ]
    notes = [
        f"counting, us: {min(us):.1f} to {max(us):.1f}",
        *(
            f"counted steps, {of}: {min(ratios):.2f} to {max(ratios):.2f} times"
            for of, ratios in steps.items()
        ),
        f"{len(machines)} machines at once / one: {ratio(each, once):.1f}",
    ]
    return report("modelled hardware", claims, notes, refusal())


if __name__ == "__main__":
    sys.exit(main())

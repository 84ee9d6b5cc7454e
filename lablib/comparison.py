"""`compare` trains in several ways side by side; `what_if` plays one run on other machines."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from lablib import strategies, tasks
from lablib.cluster.run import Run
from lablib.cluster.spec import threads_per_rank
from lablib.errors import LabError, check_whole
from lablib.hardware import catalog
from lablib.hardware.hardware import Hardware
from lablib.machine import cores, memory_bytes
from lablib.progress_bars import bar as progress_bar
from lablib.record import metrics
from lablib.strategies import FAMILIES
from lablib.training import global_batch, train
from lablib.units import show_bytes

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Comparison:
    """Strategies side by side.

    On modelled hardware only its times are modelled: losses are those of the processes.

    table        one row a run: strategy, framework, ranks, clock, samples_per_s, speedup (over
                 "single" of the same framework), efficiency (speedup / ranks), comm_share,
                 comm_counted (what that share counts; "messages" is an upper bound),
                 bytes_per_step, bubble (share of a step in which a rank stands idle),
                 peak_bytes_per_rank of the fullest rank, memory_counted, final_loss. Memory
                 is counted on modelled hardware: "tensors", those alive at once in torch;
                 "graph", those alive outside of TensorFlow's graphs and, worked out from
                 shapes and order, inside. Measured, it is that of the "process". The counting
                 rules are in `lablib.record.metrics`
    runs         (strategy, framework, ranks) -> Run
    conditions   what it ran on, in words
    """

    table: pandas.DataFrame
    runs: dict[tuple[str, str, int], Run]
    conditions: dict[str, str]

    def plot(self) -> Figure:
        """Speed-up with its ideal, time split, memory and loss."""
        from lablib.views import plots

        losses = {_label(key): run.history.loss for key, run in self.runs.items()}
        return plots.comparison(self.table, losses)

    def __repr__(self):
        return f"<Comparison of {len(self.table)} runs of {self.conditions['task']}>"

    def _repr_html_(self):
        from lablib.views import table

        return f'<div style="overflow-x: auto">{table.page(self.table)}</div>'


def compare(
    *,
    task: str | tasks.Task = "digits-mlp",
    ranks: Sequence[int] = (1, 2, 4),
    strategies: Sequence[str] | None = None,
    framework: str | None = None,
    steps: int = 20,
    hardware: str | os.PathLike | Hardware | None = None,
    batch: int | None = None,
    seed: int = 0,
    scaling: str = "strong",
    progress: bool = True,
) -> Comparison:
    """Train `task` with each strategy on each number of ranks that it can use.

    strategies   names; None: all that can train the task. "single" runs once in each framework
    framework    "torch" or "tensorflow"; None: both, as far as the task is there in both
    hardware     a machine to model, as in `Cluster`; None: times are measured on this computer

    Every rank of every run has the same number of threads, cores / the most ranks (at least 1):
    one rank stands for one machine, and adding ranks adds machines, as far as there are cores.
    """
    hardware = None if hardware is None else catalog.get(hardware)
    plan, left_out = _plan(tasks.get(task), ranks, strategies, framework, batch, scaling, hardware)
    if hardware:
        hardware.check_ranks(max(count for *_, count in plan))
    threads = threads_per_rank(cores(), max(ranks))
    runs = {}
    with progress_bar("comparing", len(plan), progress) as bar:
        for name, of, count in plan:
            bar.set_description(f"{name} on {count}, {of}")
            runs[name, of, count] = train(
                name, task=task, ranks=count, steps=steps, framework=of, hardware=hardware,
                batch=batch, seed=seed, scaling=scaling, threads=threads, progress=False,
            )  # fmt: skip
            bar.update()
    conditions = _conditions(tasks.get(task), runs, steps, seed, threads)
    if left_out:
        conditions["left out"] = "; ".join(f"{name}: {why}" for name, why in left_out.items())
    return Comparison(_table(runs), runs, conditions)


def _plan(task, ranks, chosen, framework, batch, scaling, hardware):
    """(strategy, framework, ranks) of every run, all of which can be run, and why others are left
    out where all were asked for. LabError for what was asked for and cannot be."""
    counts = sorted(set(ranks))
    if not counts:
        raise LabError("compare needs a number of ranks.", saw="ranks=[]", do="write ranks=[1, 2]")
    for count in counts:
        check_whole(1, ranks=count)
    if framework:
        task.check_framework(framework)
    frameworks = [framework] if framework else list(task.model.frameworks)
    plan, left_out = [], {}
    for described in _described(chosen, frameworks, framework):
        for count in _fitting(described, task, counts):
            try:
                described.check_hardware(hardware)
                described.check(task, count, global_batch(task, count, batch, scaling))
            except LabError as error:
                if chosen is not None:
                    raise
                left_out[f"{described.name} on {count}"] = f"{error.wrong} {error.saw}"
            else:
                plan.append((described, count))
    if not plan:
        raise LabError(
            "Nothing can be compared.",
            saw=f"strategies={chosen!r}" if chosen is not None else str(left_out),
            do=f"choose from {', '.join(strategies.names(framework))}",
        )
    plan.sort(key=lambda run: (frameworks.index(run[0].framework), FAMILIES.index(run[0].family)))
    return [(each.name, each.framework, count) for each, count in plan], left_out


def _described(chosen, frameworks, framework):
    """The strategies that are meant, in each framework that has them."""
    for of in frameworks:
        for name in strategies.names(of) if chosen is None else chosen:
            if framework or name in strategies.names(of) or name not in strategies.names():
                yield strategies.get(name, of).STRATEGY


def _fitting(described, task, counts):
    """Those numbers of ranks that the strategy can use, else its fewest."""
    most = described.most(task) or math.inf
    return [n for n in counts if described.least_ranks <= n <= most] or [described.least_ranks]


def _table(runs):
    import pandas

    rates = {key: metrics.samples_per_s(run.trace, run.history.batch) for key, run in runs.items()}
    rows = []
    for (name, of, ranks), run in runs.items():
        rate = rates[name, of, ranks]
        speedup = metrics.speedup(rate, rates.get(("single", of, 1), math.nan))
        rows.append({
            "strategy": name, "framework": of, "ranks": ranks, "clock": run.clock,
            "samples_per_s": rate, "speedup": speedup,
            "efficiency": metrics.efficiency(speedup, ranks),
            **_communication(run, strategies.get(name, of).STRATEGY),
            **_memory(run, of),
            "final_loss": run.history.loss[-1],
        })  # fmt: skip
    return pandas.DataFrame(rows)


_UNSEEN = {
    "comm_share": math.nan,
    "comm_counted": "unseen",
    "bytes_per_step": math.nan,
    "bubble": math.nan,
}


def _communication(run, described):
    """Not 0 where messages pass the recorder by, as those of TensorFlow's parameter servers do."""
    if described.only_measured and not run.trace.of(kind="message"):
        return _UNSEEN
    return {
        "comm_share": metrics.comm_share(run.trace),
        "comm_counted": metrics.comm_counted(run.trace),
        "bytes_per_step": metrics.bytes_per_step(run.trace),
        "bubble": metrics.bubble(run.trace),
    }


_COUNTED = {"torch": "tensors", "tensorflow": "graph"}


def _memory(run, framework):
    """Of the fullest rank: its tensors where they were counted, else what its process has alone."""
    live = run.metrics.live_bytes.max()
    counted = live == live
    return {
        "peak_bytes_per_rank": float(live if counted else run.metrics.peak_bytes.max()),
        "memory_counted": _COUNTED[framework] if counted else "process",
    }


def _conditions(task, runs, steps, seed, threads):
    run = next(iter(runs.values()))
    frameworks = sorted({of for _, of, _ in runs})
    return {
        "task": task.name,
        "batch": f"{run.history.batch} samples a step",
        "steps": f"{steps}, seed {seed}",
        "computer": f"{cores()} cores, {show_bytes(memory_bytes())} memory",
        "threads": f"{threads} a rank",
        "clock": f"modelled: {run.hardware}" if run.hardware else "measured",
        "versions": ", ".join(f"{name} {version(name)}" for name in frameworks),
        "date": time.strftime("%Y-%m-%d"),
    }


def _label(key):
    name, framework, ranks = key
    return f"{name} ({framework}) on {ranks}"


@dataclass(frozen=True, repr=False)
class WhatIf:
    """One program on several machines; the first row is the run as it was.

    table   hardware, ranks, clock, run_s (the whole run), step_s (the slowest rank's median step
            after the first), samples_per_s (NaN where the batch is not known), comm_share
    runs    a Run for each row
    """

    table: pandas.DataFrame
    runs: list[Run]

    def plot(self) -> Figure:
        """Seconds of a step on each machine, and how they divide."""
        from lablib.views.machines import machines

        return machines(self.table)

    def __repr__(self):
        return f"<What if: one run of {self.runs[0].spec.ranks} ranks, {len(self.table)} machines>"

    def _repr_html_(self):
        return self.table.to_html(index=False, float_format="{:.4g}".format)


def what_if(
    run: Run, hardware: str | os.PathLike | Hardware | Sequence[str | os.PathLike | Hardware]
) -> WhatIf:
    """The program that `run` recorded, played on other machines. No rank is started.

    run        of a Cluster or of `train`, with hardware= given: that counts the operations. A
               measured run has CPU seconds instead and can be played on lab.Hardware.measure()
    hardware   one machine or several, as in `Cluster`

    Each trace equals, bit for bit, that of a new run with this hardware.
    """
    alone = isinstance(hardware, (str, os.PathLike, Hardware))
    runs = [run, *(run.on(machine) for machine in ([hardware] if alone else hardware))]
    import pandas

    return WhatIf(pandas.DataFrame(map(_on_one_machine, runs)), runs)


def _on_one_machine(run):
    batch = run.history.batch if run.history else math.nan
    medians = [metrics.step_s(run.trace, rank)[1:] for rank in range(run.spec.ranks)]
    return {
        "hardware": run.hardware.name if run.hardware else "this computer",
        "ranks": run.spec.ranks,
        "clock": run.clock,
        "run_s": run.trace.duration_s,
        "step_s": max((statistics.median(steps) for steps in medians if steps), default=math.nan),
        "samples_per_s": metrics.samples_per_s(run.trace, batch),
        "comm_share": metrics.comm_share(run.trace),
    }  # fmt: skip

"""`compare` trains with several strategies, and shows how they compare."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from lablib import frameworks, strategies, tasks
from lablib.cluster import devices
from lablib.cluster.run import Run
from lablib.cluster.spec import threads_per_rank
from lablib.computer.facts import cores, gpus, memory_bytes
from lablib.errors import LabError, check_whole
from lablib.hardware import catalog
from lablib.hardware.hardware import Hardware
from lablib.progress_bars import bar as progress_bar
from lablib.record import metrics, repeated
from lablib.strategies import FAMILIES
from lablib.training import busy_computer
from lablib.training.train import global_batch, train
from lablib.units import show_bytes

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


REPEATS = 3
_LEAST_STEPS = 5


@dataclass(frozen=True, repr=False)
class Comparison:
    """The results of a comparison of strategies.

    With hardware=, only the times are modelled: the losses come from real training.

    table        one row for each run, with the columns strategy, framework, ranks, clock,
                 samples_per_s (the median of the repeats), speedup (the median, compared with
                 "single" of the same framework), speedup_low and speedup_high (its range),
                 finding (what that range shows, as in `lablib.record.repeated`), efficiency
                 (speedup / ranks), comm_share, comm_counted (what that share counts; "messages"
                 is an upper bound), wire_bytes_per_rank (what the link of the busiest rank
                 carries in a step), payload_bytes_per_step (what all ranks together pass to
                 messages), bubble (the share of a step in which a rank is idle),
                 peak_bytes_per_rank (of the rank that uses the most memory), memory_counted,
                 final_loss. memory_counted says how memory was counted. On modelled hardware:
                 "tensors" (the tensors that are alive at the same time, in torch) or "graph" (in
                 TensorFlow: the tensors alive outside of graphs, plus those inside, which are
                 calculated from shapes and order). Measured: "process" (the memory of the
                 process), on GPUs "tensors". The counting rules are in `lablib.record.metrics`
    runs         (strategy, framework, ranks) -> the Run of the first repeat
    conditions   what the runs had in common, in words; "caution" says why measured times may be
                 doubtful
    """

    table: pandas.DataFrame
    runs: dict[tuple[str, str, int], Run]
    conditions: dict[str, str]

    def plot(self) -> Figure:
        """Plot speed-up with its ideal, the time split, memory and loss."""
        from lablib.views import plots

        losses = {_label(key): run.history.loss for key, run in self.runs.items()}
        return plots.comparison(self.table, losses, self.conditions.get("caution", ""))

    def __repr__(self):
        return f"<Comparison of {len(self.table)} runs of {self.conditions['task']}>"

    def _repr_html_(self):
        from lablib.views.pages import comparison_table

        caution = self.conditions.get("caution", "")
        return f'<div style="overflow-x: auto">{comparison_table.page(self.table, caution)}</div>'


def compare(
    *,
    task: str | tasks.Task = "digits-mlp",
    ranks: Sequence[int] = (1, 2, 4),
    strategies: Sequence[str | Callable] | None = None,
    framework: str | None = None,
    steps: int = 20,
    device: str = "cpu",
    hardware: str | os.PathLike | Hardware | None = None,
    batch: int | None = None,
    seed: int = 0,
    scaling: str = "strong",
    repeats: int | None = None,
    progress: bool = True,
) -> Comparison:
    """Train `task` with each strategy on each number of ranks that it can use.

    strategies   names, and your own functions as in `train`; None: all that can train the task.
                 "single" runs once in each framework
    framework    "torch" or "tensorflow"; None: all frameworks that have the task
    repeats      how often each run is measured; None: 3 times, or once on modelled hardware, where
                 each repeat would give the same times
    device       "cpu" or "cuda", as in `Cluster`: where the ranks compute; "cuda" leaves TensorFlow
                 out. It was not tried on a GPU
    hardware     a machine to model, as in `Cluster`; None: measure times on this computer

    Every rank of every run has the same number of threads: the number of cores divided by the
    largest number of ranks, but at least 1. So one rank stands for one machine, and adding ranks
    adds machines, as long as there are cores for them.

    The repeats take turns: first all runs once, then all runs again. If the computer is slower for
    a while, this affects all runs alike. The first repeat trains all steps. The later repeats only
    measure times, so they train a third of the steps, but at least 5 (or `steps`, if that is less).
    """
    hardware = None if hardware is None else catalog.get(hardware)
    devices.check(device, hardware)
    task = tasks.get(task)
    plan, left_out = _plan(task, ranks, strategies, framework, batch, scaling, device, hardware)
    if hardware:
        hardware.check_ranks(max(count for _, count in plan))
    threads = threads_per_rank(cores(), max(ranks))
    repeats = (1 if hardware else REPEATS) if repeats is None else repeats
    check_whole(1, repeats=repeats)
    measured = _measure(
        plan, repeats, steps, progress, task=task, device=device, hardware=hardware, batch=batch,
        seed=seed, scaling=scaling, threads=threads,
    )  # fmt: skip
    table = _table(measured)
    conditions = _conditions(task, measured.runs, steps, seed, threads, repeats)
    if epochs := {each.name for each in measured.described.values() if each.step_is_epoch}:
        conditions["epochs"] = f"a step of {', '.join(sorted(epochs))} passes over all samples"
    if device != devices.CPU:
        conditions["device"] = f"{device}: {'; '.join(gpus())}"
    if left_out:
        conditions["left out"] = "; ".join(f"{name}: {why}" for name, why in left_out.items())
    if caution := "; ".join(_cautions(measured, table, threads, hardware)):
        conditions["caution"] = caution
    return Comparison(table, measured.runs, conditions)


def _measure(plan, repeats, steps, progress, *, hardware, **asked):
    """Make all runs once, then all of them again, and so on."""
    measured = _Measured()
    with progress_bar("comparing", repeats * len(plan), progress) as bar:
        for number in range(repeats):
            measured.look_at_the_computer(hardware)
            for module, count in plan:
                name, of = module.STRATEGY.name, module.STRATEGY.framework
                bar.set_description(f"{name} on {count}, {of}")
                run = train(
                    getattr(module, "function", name), ranks=count, framework=of,
                    steps=_steps(steps, number), hardware=hardware, progress=False, **asked,
                )  # fmt: skip
                measured.take(module.STRATEGY, count, run)
                bar.update()
        measured.look_at_the_computer(hardware)
    return measured


def _steps(steps, repeat):
    return steps if repeat == 0 else max(min(steps, _LEAST_STEPS), -(-steps // REPEATS))


@dataclass(frozen=True)
class _Measured:
    """The results of the repeats so far.

    runs         (strategy, framework, ranks) -> its first Run
    rates        (strategy, framework, ranks) -> samples/s of each repeat
    described    (strategy, framework, ranks) -> the Strategy
    cautions     (strategy, framework, ranks) -> what was suspicious in one of its repeats
    other_cores  cores that other programs used between the repeats
    """

    runs: dict = field(default_factory=dict)
    rates: dict = field(default_factory=dict)
    described: dict = field(default_factory=dict)
    cautions: dict = field(default_factory=dict)
    other_cores: list = field(default_factory=list)

    def take(self, described, ranks, run):
        key = described.name, described.framework, ranks
        self.described[key] = described
        self.runs.setdefault(key, run)
        rate = metrics.samples_per_s(run.trace, run.history.batch)
        self.rates.setdefault(key, []).append(rate)
        if run.caution:
            self.cautions[key] = run.caution

    def look_at_the_computer(self, hardware):
        if hardware is None:
            self.other_cores.append(busy_computer.other_cores())


def _plan(task, ranks, chosen, framework, batch, scaling, device, hardware):
    """Return (strategy, number of ranks) of every possible run, and why the others are left out.

    Raises LabError if the user named a strategy that cannot run.
    """
    counts = sorted(set(ranks))
    if not counts:
        raise LabError(
            "compare needs at least one number of ranks.", saw="ranks=[]", do="write ranks=[1, 2]"
        )
    for count in counts:
        check_whole(1, ranks=count)
    if framework:
        task.check_framework(framework)
    frameworks = [framework] if framework else list(task.model.frameworks)
    plan, left_out = [], {}
    for module in _modules(chosen, frameworks, framework):
        described = module.STRATEGY
        for count in _fitting(described, task, counts):
            try:
                devices.check_framework(device, described.framework)
                described.check_hardware(hardware)
                described.check(task, count, global_batch(task, count, batch, scaling))
            except LabError as error:
                if chosen is not None:
                    raise
                left_out[f"{described.name} on {count}"] = f"{error.wrong} {error.saw}"
            else:
                plan.append((module, count))
    _check_names(chosen or ())
    if not plan:
        raise LabError(
            "None of these strategies can run, so there is nothing to compare.",
            saw=f"strategies={chosen!r}" if chosen is not None else str(left_out),
            do=f"choose from these strategies: {', '.join(strategies.names(framework))}",
        )
    return sorted(plan, key=partial(_place, frameworks)), left_out


def _check_names(chosen):
    names = [one.__name__ for one in chosen if callable(one) and hasattr(one, "__name__")]
    if len(set(names)) < len(names):
        raise LabError(
            "Two of these functions have the same name, so their rows could not be told apart.",
            saw=f"strategies={names}",
            do="rename one of the functions",
        )


def _place(frameworks, run):
    described = run[0].STRATEGY
    return frameworks.index(described.framework), FAMILIES.index(described.family)


def _modules(chosen, frameworks, framework):
    """Return the chosen strategies, in each framework that has them; a function in one."""
    for of in frameworks:
        for name in strategies.names(of) if chosen is None else chosen:
            if callable(name):
                if of == frameworks[0]:
                    yield strategies.get(name, of)
            elif framework or name in strategies.names(of) or name not in strategies.names():
                yield strategies.get(name, of)


def _fitting(described, task, counts):
    """Return the numbers of ranks that the strategy can use, or its minimum if it can use none."""
    most = described.most(task) or math.inf
    return [n for n in counts if described.least_ranks <= n <= most] or [described.least_ranks]


def _table(measured):
    import pandas

    rows = []
    for key, run in measured.runs.items():
        (name, of, ranks), rates = key, measured.rates[key]
        speedup = _speedup(measured, name, of, rates, exact=run.hardware is not None)
        rows.append({
            "strategy": name, "framework": of, "ranks": ranks, "clock": run.clock,
            "samples_per_s": statistics.median(rates),
            "speedup": speedup.median, "speedup_low": speedup.low, "speedup_high": speedup.high,
            "finding": speedup.finding, "efficiency": metrics.efficiency(speedup.median, ranks),
            **_communication(run, measured.described[key]),
            **_memory(run, of),
            "final_loss": run.history.loss[-1],
        })  # fmt: skip
    return pandas.DataFrame(rows)


def _speedup(measured, name, framework, rates, exact):
    if name == "single":
        return repeated.ONE
    alone = measured.rates.get(("single", framework, 1), [math.nan] * len(rates))
    return repeated.speedup(rates, alone, exact)


_UNSEEN = {
    "comm_share": math.nan,
    "comm_counted": "unseen",
    "wire_bytes_per_rank": math.nan,
    "payload_bytes_per_step": math.nan,
    "bubble": math.nan,
}


def _communication(run, described):
    """Return NaN, not 0, if the recorder cannot see the messages of TensorFlow's servers."""
    if described.only_measured and not run.trace.of(kind="message"):
        return _UNSEEN
    return {
        "comm_share": metrics.comm_share(run.trace),
        "comm_counted": metrics.comm_counted(run.trace),
        "wire_bytes_per_rank": metrics.wire_bytes_per_rank(run.trace),
        "payload_bytes_per_step": metrics.payload_bytes_per_step(run.trace),
        "bubble": metrics.bubble(run.trace),
    }


def _memory(run, framework):
    """Return the memory of the rank that uses the most: tensors if counted, else its process."""
    live = run.metrics.live_bytes.max()
    counted = live == live
    return {
        "peak_bytes_per_rank": float(live if counted else run.metrics.peak_bytes.max()),
        "memory_counted": frameworks.get(framework).memory_counted if counted else "process",
    }


def _cautions(measured, table, threads, hardware):
    """Yield the reasons, in words, why measured times are doubtful."""
    if hardware:
        return
    if len(next(iter(measured.rates.values()))) == 1:
        yield "every run was measured only once, so its range is unknown; use repeats=3 or more"
    most_ranks = max(count for *_, count in measured.runs)
    if why := busy_computer.too_busy(max(measured.other_cores), most_ranks * threads):
        yield f"the computer was busy: {why} between the repeats"
    if measured.cautions:
        (name, of, count), why = next(iter(measured.cautions.items()))
        others = len(measured.cautions) - 1
        more = f" (and {others} other rows)" if others else ""
        yield f"{name} on {count}, {of}{more}: {why}"
    if most_ranks * threads > cores():
        yield (
            f"{most_ranks} ranks shared {cores()} cores, so their speed-up does not "
            "show what a computer with more cores would reach"
        )
    for row in table.to_dict("records"):
        if row["speedup_low"] > row["ranks"]:
            yield (
                f"{row['strategy']} on {row['ranks']}, {row['framework']}, seems more than "
                f"{row['ranks']} times as fast as one process: either smaller shards fit better "
                "into the caches, or other programs disturbed the runs of the one process"
            )


def _conditions(task, runs, steps, seed, threads, repeats):
    run = next(iter(runs.values()))
    frameworks = sorted({of for _, of, _ in runs})
    return {
        "task": task.name,
        "batch": f"{run.history.batch} samples per step",
        "steps": f"{steps}, seed {seed}",
        "repeats": f"{repeats}, taking turns; a range is from the smallest to the largest ratio",
        "computer": f"{cores()} cores, {show_bytes(memory_bytes())} memory",
        "threads": f"{threads} per rank",
        "clock": f"modelled: {run.hardware}" if run.hardware else "measured",
        "versions": ", ".join(f"{name} {version(name)}" for name in frameworks),
        "date": time.strftime("%Y-%m-%d"),
    }


def _label(key):
    name, framework, ranks = key
    return f"{name} ({framework}) on {ranks}"

"""`train` runs one strategy, `compare` several side by side: one table, one figure."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from lablib import strategies, tasks
from lablib.cluster import launch
from lablib.cluster.cluster import Cluster
from lablib.cluster.run import Run
from lablib.cluster.spec import threads_per_rank
from lablib.errors import LabError, check_whole
from lablib.machine import cores, memory_bytes
from lablib.progress import Steps
from lablib.progress import bar as progress_bar
from lablib.record import metrics
from lablib.strategies import Job, Strategy
from lablib.units import show_bytes

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

_TIMEOUT_S = 600


@dataclass(frozen=True)
class History:
    """What training gave.

    loss      the mean over the whole batch, one number a step
    weights   final weights by name, NumPy arrays in the layout of `Task.weights`
    batch     samples of one step, all ranks together
    """

    loss: list[float]
    weights: dict[str, np.ndarray]
    batch: int

    def __repr__(self):
        first, last = f"{self.loss[0]:.4g}", f"{self.loss[-1]:.4g}"
        return f"<History of {len(self.loss)} steps of {self.batch}: loss {first} to {last}>"


def train(
    strategy: str,
    *,
    task: str | tasks.Task = "digits-mlp",
    ranks: int | None = None,
    nodes: int = 1,
    steps: int = 50,
    framework: str | None = None,
    hardware: object = None,
    batch: int | None = None,
    seed: int = 0,
    scaling: str = "strong",
    threads: int | None = None,
    timeout_s: float = _TIMEOUT_S,
    progress: bool = True,
    **options: Any,
) -> Run:
    """Train `task` with a strategy on `ranks` processes; `run.history` has losses and weights.

    strategy    one of `lab.strategies.names()`
    ranks       as few as the strategy can use when not given
    framework   the strategy's own when not given; torch where it is in both
    batch       samples of a step, all ranks together; with scaling="weak" those of each rank
    threads     of each rank; cores / ranks when not given
    options     those that the strategy declares, such as `bucket_mb` of ddp

    Raises LabError for what cannot be, before any process starts; otherwise as `Cluster.run`.
    """
    module = strategies.get(strategy, framework)
    described, task = module.STRATEGY, tasks.get(task)
    ranks = described.least_ranks if ranks is None else ranks
    check_whole(1, ranks=ranks)
    job = _job(described, task, ranks, steps, batch, seed, scaling, options)
    cluster = Cluster(
        ranks, nodes=nodes, framework=described.framework, hardware=hardware,
        timeout_s=timeout_s, threads=threads,
    )  # fmt: skip
    launch.zygote(described.framework).import_for_training()
    with cluster:
        shown = Steps(f"{strategy} on {ranks}", steps, progress)
        run = cluster.run(partial(module.train, job=job), watch=shown)
    return replace(run, history=_history(run.values, job.batch))


@dataclass(frozen=True, repr=False)
class Comparison:
    """Strategies side by side.

    table        one row a run: strategy, framework, ranks, clock, samples_per_s, speedup (over
                 "single" of the same framework), efficiency (speedup / ranks), comm_share,
                 comm_counted (what that share counts; "messages" is an upper bound),
                 bytes_per_step, peak_bytes_per_rank (its own), final_loss. The counting rules are
                 in `lablib.record.metrics`
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
    hardware: object = None,
    batch: int | None = None,
    seed: int = 0,
    scaling: str = "strong",
    progress: bool = True,
) -> Comparison:
    """Train `task` with each strategy on each number of ranks that it can use.

    strategies   names; None: all. "single" runs once in each framework that is asked for
    framework    "torch" or "tensorflow"; None: both

    Every rank of every run has the same number of threads, cores / the most ranks (at least 1):
    one rank stands for one machine, and adding ranks adds machines, as far as there are cores.
    """
    plan = _plan(tasks.get(task), ranks, strategies, framework, batch, scaling)
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
    return Comparison(_table(runs), runs, _conditions(tasks.get(task), runs, steps, seed, threads))


def _plan(task, ranks, chosen, framework, batch, scaling):
    """(strategy, framework, ranks) of every run; all of it can be run, or LabError."""
    counts = sorted(set(ranks))
    if not counts:
        raise LabError("compare needs a number of ranks.", saw="ranks=[]", do="write ranks=[1, 2]")
    for count in counts:
        check_whole(1, ranks=count)
    frameworks = [framework] if framework else ["torch", "tensorflow"]
    plan = []
    for of in frameworks:
        for name in strategies.names(of) if chosen is None else chosen:
            if framework or name in strategies.names(of) or name not in strategies.names():
                described = strategies.get(name, of).STRATEGY
                usable = [n for n in counts if _usable(described, task, n, batch, scaling)]
                plan += [(name, of, n) for n in usable or [described.least_ranks]]
    family = {name: strategies.get(name, of).STRATEGY.family for name, of, _ in plan}
    order = ["single", "data", "model"]
    return sorted(plan, key=lambda run: (frameworks.index(run[1]), order.index(family[run[0]])))


def _usable(described, task, ranks, batch, scaling):
    """Whether the strategy can use so many ranks; what is wrong with the batch is told."""
    if ranks < described.least_ranks or ranks > (described.most_ranks or math.inf):
        return False
    described.check(task, ranks, _global_batch(task, ranks, batch, scaling))
    return True


def _job(described: Strategy, task, ranks, steps, batch, seed, scaling, options):
    check_whole(1, steps=steps)
    check_whole(0, seed=seed)
    batch = _global_batch(task, ranks, batch, scaling)
    described.check(task, ranks, batch)
    return Job(task, steps, batch, seed, described.chosen(options))


def _global_batch(task, ranks, batch, scaling):
    if scaling not in ("strong", "weak"):
        raise LabError(
            "There is no such scaling.",
            saw=f"scaling={scaling!r}",
            do="choose 'strong' (batch of all ranks together) or 'weak' (batch of each rank)",
        )
    batch = task.batch if batch is None else batch
    check_whole(1, batch=batch)
    return batch * ranks if scaling == "weak" else batch


def _history(values, batch):
    """Losses are the mean over the ranks that know one, weights come from those that hold them."""
    told = [value for value in values if value]
    losses = [value["losses"] for value in told if value["losses"]]
    weights = {name: array for value in told for name, array in value["weights"].items()}
    return History(np.mean(losses, axis=0).tolist(), weights, batch)


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
            "comm_share": metrics.comm_share(run.trace),
            "comm_counted": metrics.comm_counted(run.trace),
            "bytes_per_step": metrics.bytes_per_step(run.trace),
            "peak_bytes_per_rank": float(run.metrics.peak_bytes.max()),
            "final_loss": run.history.loss[-1],
        })  # fmt: skip
    return pandas.DataFrame(rows)


def _conditions(task, runs, steps, seed, threads):
    run = next(iter(runs.values()))
    frameworks = sorted({of for _, of, _ in runs})
    return {
        "task": task.name,
        "batch": f"{run.history.batch} samples a step",
        "steps": f"{steps}, seed {seed}",
        "computer": f"{cores()} cores, {show_bytes(memory_bytes())} memory",
        "threads": f"{threads} a rank",
        "clock": run.clock,
        "versions": ", ".join(f"{name} {version(name)}" for name in frameworks),
        "date": time.strftime("%Y-%m-%d"),
    }


def _label(key):
    name, framework, ranks = key
    return f"{name} ({framework}) on {ranks}"

"""`train` runs one strategy on one task."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lablib import strategies, tasks
from lablib.cluster.cluster import Cluster
from lablib.cluster.local import launch
from lablib.cluster.run import Run
from lablib.errors import LabError, check_whole
from lablib.hardware.hardware import Hardware
from lablib.progress_bars import Steps
from lablib.strategies import Job, Strategy
from lablib.training import busy_computer

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
    nodes: int | None = None,
    steps: int = 50,
    framework: str | None = None,
    hardware: str | os.PathLike | Hardware | None = None,
    batch: int | None = None,
    seed: int = 0,
    scaling: str = "strong",
    threads: int | None = None,
    timeout_s: float = _TIMEOUT_S,
    progress: bool = True,
    watch: Callable | None = None,
    **options: Any,
) -> Run:
    """Train `task` with a strategy on `ranks` processes; `run.history` has losses and weights.

    `run.caution` says what makes measured times doubtful, such as a busy computer.

    strategy    one of `lab.strategies.names()`
    ranks       as few as the strategy can use when not given
    framework   the strategy's own when not given; torch where it is in both
    hardware    a machine to model, as in `Cluster`; None: times are measured on this computer
    batch       samples of a step, all ranks together; with scaling="weak" those of each rank
    threads     of each rank; cores / ranks when not given
    watch       as in `Cluster.run`, such as `views.live.View()`; None: a bar of the steps
    options     those that the strategy declares, such as `bucket_mb` of ddp

    Raises LabError for what cannot be, before any process starts; otherwise as `Cluster.run`.
    """
    module = strategies.get(strategy, framework)
    described, task = module.STRATEGY, tasks.get(task)
    ranks = described.least_ranks if ranks is None else ranks
    check_whole(1, ranks=ranks)
    described.check_hardware(hardware)
    job = _job(described, task, ranks, steps, batch, seed, scaling, options)
    roles = described.roles and described.roles(ranks)
    cluster = Cluster(
        None if roles else ranks, nodes=nodes, roles=roles, framework=described.framework,
        hardware=hardware, timeout_s=timeout_s, threads=threads,
    )  # fmt: skip
    launch.zygote(described.framework).import_for_training()
    with cluster:
        shown = watch or Steps(f"{strategy} on {ranks}", steps, progress)
        run = cluster.run(partial(module.train, job=job), watch=shown)
    run = replace(run, history=_history(run.values, job.batch))
    return replace(run, caution=busy_computer.ranks_lacked_cores(run))


def _job(described: Strategy, task, ranks, steps, batch, seed, scaling, options):
    check_whole(1, steps=steps)
    check_whole(0, seed=seed)
    batch = global_batch(task, ranks, batch, scaling)
    described.check(task, ranks, batch, options)
    return Job(task, steps, batch, seed, described.chosen(options))


def global_batch(task, ranks, batch, scaling):
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
    returned = [value for value in values if value]
    losses = [value["losses"] for value in returned if value["losses"]]
    weights = {name: array for value in returned for name, array in value["weights"].items()}
    return History(np.mean(losses, axis=0).tolist(), weights, batch)

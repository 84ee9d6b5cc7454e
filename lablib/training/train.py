"""`train` trains one task with one strategy."""

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
    """The result of training.

    loss      the mean loss over the whole batch, one number for each step
    weights   the final weights by name, NumPy arrays in the layout of `Task.weights`
    batch     the number of samples in one step, on all ranks together
    """

    loss: list[float]
    weights: dict[str, np.ndarray]
    batch: int

    def __repr__(self):
        first, last = f"{self.loss[0]:.4g}", f"{self.loss[-1]:.4g}"
        return f"<History of {len(self.loss)} steps of {self.batch}: loss {first} to {last}>"


def train(
    strategy: str | Callable,
    *,
    task: str | tasks.Task = "digits-mlp",
    ranks: int | None = None,
    nodes: int | None = None,
    steps: int = 50,
    framework: str | None = None,
    device: str = "cpu",
    hardware: str | os.PathLike | Hardware | None = None,
    batch: int | None = None,
    seed: int = 0,
    scaling: str = "strong",
    dry: bool = False,
    threads: int | None = None,
    timeout_s: float = _TIMEOUT_S,
    progress: bool = True,
    watch: Callable | None = None,
    **options: Any,
) -> Run:
    """Train `task` with a strategy on `ranks` processes; `run.history` has losses and weights.

    `run.caution` says why measured times may be doubtful, for example because the computer is busy.

    strategy    one of `lab.strategies.names()`; or your own function `train(me, job)`, which
                returns {"losses": ..., "weights": ...} as the files of `lablib/strategies` do
    ranks       the number of processes; default: the fewest that the strategy can use
    framework   default: the strategy's own, or torch if it exists in both
    device      "cpu" or "cuda", as in `Cluster`: where the ranks compute. It was not tried on a GPU
    hardware    a machine to model, as in `Cluster`; None: measure times on this computer
    batch       samples in a step, on all ranks together; with scaling="weak", on each rank
    dry         True: compute shapes but no values, as in `Cluster`; `run.history` is then None
    threads     the number of threads of each rank; default: cores / ranks
    watch       as in `Cluster.run`, for example `views.live.View()`; None: a bar of the steps
    options     options of the strategy, such as `bucket_mb` of ddp

    Raises LabError before any process starts if this training is not possible. Errors on the ranks
    are raised as by `Cluster.run`.
    """
    module = strategies.get(strategy, framework)
    described, task = module.STRATEGY, tasks.get(task)
    ranks = described.least_ranks if ranks is None else ranks
    check_whole(1, ranks=ranks)
    described.check_hardware(hardware)
    described.check_dry(dry)
    job = _job(described, task, ranks, steps, batch, seed, scaling, options)
    roles = described.roles and described.roles(ranks)
    cluster = Cluster(
        None if roles else ranks, nodes=nodes, roles=roles, framework=described.framework,
        device=device, hardware=hardware, dry=dry, timeout_s=timeout_s, threads=threads,
    )  # fmt: skip
    launch.zygote(described.framework).import_for_training()
    with cluster:
        shown = watch or Steps(f"{described.name} on {ranks}", steps, progress)
        if dry:
            return cluster.run(partial(_without_values, train=module.train, job=job), watch=shown)
        run = cluster.run(partial(module.train, job=job), watch=shown)
    samples = task.samples if described.step_is_epoch else job.batch
    run = replace(run, history=_history(run.values, samples))
    return replace(run, caution=busy_computer.ranks_lacked_cores(run))


def _without_values(me, train, job):
    """Train in a dry run, whose losses and weights have no values that could be returned."""
    train(me, job=job)


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
            do="choose 'strong' (`batch` is for all ranks together) or 'weak' (for each rank)",
        )
    batch = task.batch if batch is None else batch
    check_whole(1, batch=batch)
    return batch * ranks if scaling == "weak" else batch


def _history(values, batch):
    """Return the mean loss over the ranks that know one, and the weights that ranks returned."""
    returned = [value for value in values if value]
    losses = [value["losses"] for value in returned if value["losses"]]
    if not losses or len({len(steps) for steps in losses}) > 1:
        raise LabError(
            "The strategy must return one loss for each step, on at least one rank.",
            saw=f"{[len(value['losses']) for value in returned]} losses on the ranks",
            do="append the loss of each step to a list, and return it as 'losses'",
        )
    weights = {name: array for value in returned for name, array in value["weights"].items()}
    return History(np.mean(losses, axis=0).tolist(), weights, batch)

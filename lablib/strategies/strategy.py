"""How a strategy describes itself, and the job that it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lablib.errors import LabError
from lablib.tasks import Task

FAMILIES = (
    "single",
    "data",
    "asynchronous",
    "sharded",
    "pipeline",
    "tensor",
    "combined",
    "federated",
    "restart",
    "own",
)


@dataclass(frozen=True)
class Strategy:
    """A way to train in parallel.

    family         one of FAMILIES
    about          one sentence that says what each rank holds and what the ranks send
    read           where to read more
    least_ranks, most_ranks   how many ranks it can use; most_ranks None: any number
    splits         what the ranks divide: "nothing", "batch" or "blocks"
    options        names that `lab.train` takes for it, with their defaults
    only_measured  why it cannot run on modelled hardware; "" if it can
    only_computed  why it needs values of tensors, so that it cannot run dry; "" if it can
    fits           (task, ranks, batch, **options) -> why it cannot train this, or "" if it can;
                   for conditions that the fields above cannot express
    roles          ranks -> number of ranks in each role, if TensorFlow needs roles
    synchronous    True if its losses and weights equal those of the single process
    step_is_epoch  True if a step is a pass over all records; False if it is one batch
    """

    name: str
    framework: str
    family: str
    about: str
    read: str
    splits: str
    least_ranks: int = 1
    most_ranks: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    only_measured: str = ""
    only_computed: str = ""
    fits: Callable[..., str] = lambda task, ranks, batch, **options: ""
    roles: Callable[[int], Mapping[str, int]] | None = None
    synchronous: bool = True
    step_is_epoch: bool = False

    def check_hardware(self, hardware: object) -> None:
        """Raise LabError if it cannot be modelled but should be, before any process starts."""
        if hardware is not None and self.only_measured:
            raise LabError(
                f"{self.name} cannot be modelled.",
                saw=self.only_measured,
                do="omit hardware, so that the run is measured on this computer",
            )

    def check_dry(self, dry: bool) -> None:
        """Raise LabError if it cannot run dry but should, before any process starts."""
        if dry and self.only_computed:
            raise LabError(
                f"{self.name} cannot run dry.",
                saw=self.only_computed,
                do="omit dry=True, to compute the values",
            )

    def why_not(self, task: Task) -> LabError | None:
        """Return why it cannot train this task on any number of ranks; None if it can."""
        try:
            task.check_framework(self.framework)
        except LabError as error:
            return error
        if self.splits == "blocks" and task.blocks < self.least_ranks:
            return LabError(
                f"{self.name} needs a model that can be cut, and {task.name} cannot.",
                saw="one block",
                do="write the model as an nn.Sequential of its layers; layers that share a weight, "
                "have no weights or pass on more than one tensor cannot be separated",
            )
        return None

    def most(self, task: Task) -> int | None:
        """Return the largest number of ranks that can train this task; None: any number."""
        return task.blocks if self.splits == "blocks" else self.most_ranks

    def check(
        self, task: Task, ranks: int, batch: int, options: Mapping[str, Any] | None = None
    ) -> None:
        """Raise LabError if this strategy cannot do this, before any process starts."""
        if error := self.why_not(task):
            raise error
        most = self.most(task)
        if ranks < self.least_ranks or (most is not None and ranks > most):
            upto = f" to {most}" if most != self.least_ranks else ""
            bound = f"{self.least_ranks}{upto}" if most else f"at least {self.least_ranks}"
            raise LabError(
                f"{self.name} cannot use {ranks} ranks.",
                saw=f"ranks={ranks}; {task.name} has {task.blocks} blocks",
                do=f"choose {bound}",
            )
        if self.splits == "batch" and batch % ranks:
            raise LabError(
                "The batch size must be divisible by the number of ranks.",
                saw=f"batch={batch} over {ranks} ranks",
                do=f"choose a batch that is a multiple of {ranks}, at least {ranks}",
            )
        if why := self.fits(task, ranks, batch, **self.chosen(options or {})):
            raise LabError(
                f"{self.name} cannot train this on {ranks} ranks.",
                saw=f"{task.name}, batch {batch}: {why}",
                do=f"change one of these: {', '.join(['ranks', 'batch', 'task', *self.options])}",
            )

    def chosen(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return its options with the given values; raise LabError for an unknown option."""
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            raise LabError(
                f"{self.name} has no option {unknown[0]!r}.",
                saw=f"{unknown[0]}={options[unknown[0]]!r}",
                do=f"choose one of its options: {', '.join(self.options) or 'it has none'}",
            )
        return dict(self.options) | dict(options)


@dataclass(frozen=True)
class Job:
    """The training that a strategy carries out; it is the same on every rank.

    batch    samples in one step, on all ranks together
    """

    task: Task
    steps: int
    batch: int
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def batch_at(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the whole batch of that step, (x, y)."""
        return self.task.batch_at(step, self.batch, self.seed)

    def shard_at(self, step: int, me) -> tuple[np.ndarray, np.ndarray]:
        """Return this rank's part of the batch of that step, (x, y)."""
        return tuple(map(me.shard, self.batch_at(step)))

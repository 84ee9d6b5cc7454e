"""Task: a model with its data, loss and batch size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lablib.errors import LabError, check_whole
from lablib.tasks import batches
from lablib.tasks.cut import balanced
from lablib.units import show_bytes

if TYPE_CHECKING:
    from lablib.tasks.blocks import Block
    from lablib.tasks.chain import Chain
    from lablib.tasks.own_blocks import OwnBlock
    from lablib.tasks.own_model import OwnModel


@dataclass(frozen=True, repr=False)
class Task:
    """A task that a strategy trains, with SGD and momentum.

    model   the model with its loss: a `Chain`, the same in both frameworks, or your `OwnModel` in
            torch
    data    a function that returns the training samples and their targets, (x, y)
    batch   samples in one step, on all ranks together
    test    a function that returns samples and targets that are not trained on, scaled as `data`
            is; None if the task has none
    """

    name: str
    model: Chain | OwnModel
    data: Callable[[], tuple[np.ndarray, np.ndarray]]
    batch: int
    lr: float
    momentum: float = 0.9
    test: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None

    @classmethod
    def from_torch(
        cls,
        model: Any,
        loss: Callable,
        data: Any,
        batch: int,
        *,
        lr: float = 0.01,
        momentum: float = 0.9,
        name: str | None = None,
    ) -> Task:
        """Make a task from your own torch model, for `lab.train`, `lab.compare`, `lab.what_if`.

            lab.Task.from_torch(Net(), nn.CrossEntropyLoss(), (x, y), batch=64, lr=0.05)

        model   a module: every rank starts from a copy of its current weights, in its current mode
                (train or eval). Or a function or class that makes a module when called: the run's
                seed then decides its weights. An nn.Sequential can be cut for pipelines between its
                layers; any other module is one block
        loss    loss(outputs, y): a scalar tensor, the mean over the samples
        data    (x, y): arrays or tensors with one row for each sample, written to a temporary file
                that all ranks map. Or a map-style Dataset of such pairs: it is read once, now, so
                a random transform is drawn only once. Or a function that returns (x, y): it is
                called here and once on every rank, and each rank has its own copy of the data
        batch   samples in one step, on all ranks together; it may be larger than the data

        The ranks get integers as int64 and all other numbers in their own type. Random numbers in
        training (dropout) depend only on the seed and are the same on every rank. The weights of a
        run are the model's state_dict as NumPy arrays, with its buffers.

        If a forward pass changes buffers, as BatchNorm's does, a note says so. Where the batch is
        split, each rank computes them from its own samples, and with micro-batches from each
        micro-batch, so they differ from those of one process, and so do outputs that depend on
        them. The strategies with DistributedDataParallel (ddp, zero1, restart,
        gradient_accumulation) begin each step with rank 0's buffers, as torch does; in the other
        strategies each rank keeps its own. A run returns the buffers of the first rank that
        runs the model forward. For statistics of the whole batch, replace BatchNorm by a layer
        that normalises each sample, such as LayerNorm.

        `from_torch` tries one forward and backward pass of the first batch
        on a copy of the model, and raises LabError if it cannot be trained.
        """
        from lablib.tasks import own_code, own_data, own_model

        check_whole(1, batch=batch)
        _check_number(lr=lr, momentum=momentum)
        own, name = own_model.kept(model, loss), name or own_model.name_of(model)
        task = cls(name, own, own_data.kept(data), batch, lr, momentum)
        own_code.check_travels(task)
        task = replace(task, model=own.tried(*task.batch_at(0)))
        _note_moving_buffers(task.model.moving)
        return task

    def __repr__(self) -> str:
        blocks = f"{self.blocks} block{'s' if self.blocks > 1 else ''}"
        return (
            f"Task {self.name}: {blocks}, {self.parameters:,} parameters "
            f"({show_bytes(self.weight_bytes)}), batch {self.batch}, "
            f"SGD lr {self.lr:g} momentum {self.momentum:g}"
        )

    @property
    def chain(self) -> tuple[Block, ...] | tuple[OwnBlock, ...]:
        """Return the blocks of the model, in order; it can be cut between any two."""
        return self.model.blocks

    @property
    def blocks(self) -> int:
        """Return the number of blocks of the model."""
        return len(self.chain)

    @property
    def parameters(self) -> int:
        return sum(block.parameters for block in self.chain)

    @property
    def weight_bytes(self) -> int:
        return sum(block.weight_bytes for block in self.chain)

    @property
    def samples(self) -> int:
        """Return the number of samples in one epoch."""
        return len(self.data()[0])

    def weights(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Return the initial weights of the whole model by name, as in a run's history."""
        check_whole(0, seed=seed)
        return self.model.weights(seed)

    def batch_at(
        self, step: int, batch: int | None = None, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return samples and targets of the global batch of one step; None: the task's batch size.

        All batches are full: epochs are shuffled by the seed and follow each other without a gap.
        Integers are int64. Each call returns new arrays.
        """
        batch = self.batch if batch is None else batch
        check_whole(0, step=step, seed=seed)
        check_whole(1, batch=batch)
        return self.rows(batches.rows(step, batch, self.samples, seed))

    def rows(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return new arrays with these rows of the samples and targets. Integers are int64."""
        x, y = self.data()
        return _wide(x[numbers]), _wide(y[numbers])

    def cut(self, stages: int) -> list[range]:
        """Return ranges of blocks for a pipeline, balanced by the FLOPs of their forward passes.

        Raises LabError if there are more stages than blocks.
        """
        check_whole(1, stages=stages)
        if stages > self.blocks:
            raise LabError(
                f"{self.name} cannot be cut into {stages} stages.",
                saw=f"{self.blocks} blocks, and each stage needs at least one",
                do=f"choose at most {self.blocks} stages",
            )
        return balanced([block.flops for block in self.chain], stages)

    def chosen(self, blocks: range | slice | None = None) -> range:
        """Return the numbers of the given blocks; raise LabError if they do not exist."""
        every = range(self.blocks)
        if blocks is None:
            return every
        numbers = every[blocks] if isinstance(blocks, slice) else blocks
        if not isinstance(numbers, range) or not numbers or not set(numbers) <= set(every):
            raise LabError(
                f"{self.name} has no such blocks.",
                saw=f"blocks={blocks!r}",
                do=f"choose a range within range(0, {self.blocks}), for example one of task.cut(2)",
            )
        return numbers

    def check_framework(self, framework: str) -> None:
        """Raise LabError if the model does not exist in this framework."""
        if framework not in self.model.frameworks:
            raise LabError(
                f"{self.name} cannot be trained in {framework}.",
                saw=f"a model in {' and '.join(self.model.frameworks)}",
                do=f"choose a strategy in {' or '.join(self.model.frameworks)}",
            )

    def torch_model(self, seed: int = 0, blocks: range | slice | None = None) -> Any:
        """Return a torch.nn.Module of these blocks, or of all; only these blocks are allocated."""
        return self._torch.build(seed, self.chosen(blocks))

    def torch_input(self, block: int, samples: int) -> Any:
        """Return an uninitialised tensor with the shape and type of the block's input.

        A pipeline stage that begins with this block receives into this tensor.
        """
        import torch

        into = self.chain[block]
        return torch.empty(samples, *into.shape_in, dtype=getattr(torch, into.dtype_in))

    def torch_loss(self, outputs, y):
        """Return the mean loss of the model's outputs and the targets, a scalar tensor."""
        return self._torch.loss(outputs, y)

    def torch_arrays(self, model) -> dict[str, np.ndarray]:
        """Return copies of the weights of a model or a stage, which may be wrapped by DDP."""
        return self._torch.arrays(model)

    def tensorflow_model(self, seed: int = 0, blocks: range | slice | None = None) -> Any:
        """Return a keras.Model of these blocks, or of all; only these blocks are allocated.

        `model.blocks` are its blocks: Keras layers, which can be called one by one. The variables
        are made on the current `tf.device` and in the current `tf.distribute` scope.
        """
        return self._tensorflow.build(seed, self.chosen(blocks))

    def tensorflow_loss(self, outputs, y):
        """Return the mean loss of the model's outputs and the targets, a scalar tensor."""
        return self._tensorflow.loss(outputs, y)

    def tensorflow_arrays(self, model) -> dict[str, np.ndarray]:
        """Return copies of the weights of a model or a stage."""
        return self._tensorflow.arrays(model)

    # Two properties, because AutoGraph turns a method that is called in a graph, and all that the
    # method calls, into new source code on every rank. It leaves attributes alone.
    @property
    def _torch(self):
        return self._within("torch")

    @property
    def _tensorflow(self):
        return self._within("tensorflow")

    def _within(self, framework):
        self.check_framework(framework)
        return self.model.within(framework)


def _wide(array):
    return array.astype(np.int64, copy=False) if array.dtype.kind in "iu" else array


def _note_moving_buffers(names):
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        print(
            f"Note: the forward pass of this model changes its buffers ({shown}). If a strategy "
            "splits the batch, each rank computes them from its own samples, so the run can differ "
            "from training in one process. See help(lab.Task.from_torch)."
        )


def _check_number(**given):
    for name, number in given.items():
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number:
            raise LabError(
                f"{name} must be a number of at least 0.",
                saw=f"{name}={number!r}",
                do=f"write, for example, {name}=0.01",
            )

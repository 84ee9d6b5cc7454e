"""Task: a model with its data, loss and batch size, the same in both frameworks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lablib.errors import LabError, check_whole
from lablib.tasks import batches, weights
from lablib.tasks.blocks import Block
from lablib.tasks.cut import balanced
from lablib.units import show_bytes


@dataclass(frozen=True, repr=False)
class Task:
    """A chain of blocks to train with SGD and momentum on the mean cross-entropy of its scores.

    data    gives the training samples and their classes, (x, y); called when they are needed
    batch   samples of one step, all ranks together

    The names and layouts of arrays are canonical, whatever the framework: `"3.dense.kernel"` is
    an array of block 3; dense kernels are (in, out), conv kernels (height, width, in, out).
    """

    name: str
    chain: tuple[Block, ...]
    data: Callable[[], tuple[np.ndarray, np.ndarray]]
    batch: int
    lr: float
    momentum: float = 0.9

    def __repr__(self) -> str:
        return (
            f"Task {self.name}: {self.blocks} blocks, {self.parameters:,} parameters "
            f"({show_bytes(self.weight_bytes)}), batch {self.batch}, "
            f"SGD lr {self.lr:g} momentum {self.momentum:g}"
        )

    @property
    def blocks(self) -> int:
        """How many blocks the model is a chain of."""
        return len(self.chain)

    @property
    def parameters(self) -> int:
        return sum(block.parameters for block in self.chain)

    @property
    def weight_bytes(self) -> int:
        return 4 * self.parameters

    @property
    def samples(self) -> int:
        """How many samples one epoch has."""
        return len(self.data()[0])

    def weights(self, seed: int = 0) -> dict[str, np.ndarray]:
        """The initial weights of the whole model, in order; float32."""
        return {
            f"{number}.{layer}.{array}": value
            for number in range(self.blocks)
            for layer, arrays in self.initial(number, seed).items()
            for array, value in arrays.items()
        }

    def initial(self, number: int, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
        """The initial weights of one block: layer -> array -> float32. No other is made."""
        check_whole(0, seed=seed)
        return weights.initial(self.chain[number], number, seed)

    def batch_at(
        self, step: int, batch: int | None = None, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples and classes of the whole global batch of one step; `batch=None` is the task's.

        Always full: epochs are shuffled by the seed and follow each other without a gap.
        x is float32, or int64 for tokens; y is int64. New arrays each time.
        """
        batch = self.batch if batch is None else batch
        check_whole(0, step=step, seed=seed)
        check_whole(1, batch=batch)
        x, y = self.data()
        rows = batches.rows(step, batch, len(x), seed)
        return _plain(x[rows]), _plain(y[rows])

    def cut(self, stages: int) -> list[range]:
        """Ranges of blocks for a pipeline, balanced by the FLOPs of their forward passes.

        LabError when there are more stages than blocks.
        """
        check_whole(1, stages=stages)
        if stages > self.blocks:
            raise LabError(
                f"{self.name} cannot be cut into {stages} stages.",
                saw=f"{self.blocks} blocks, and a stage needs at least one",
                do=f"choose at most {self.blocks} stages",
            )
        return balanced([block.flops for block in self.chain], stages)

    def chosen(self, blocks: range | slice | None = None) -> range:
        """The numbers of the blocks asked for; LabError when there are none such."""
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

    def torch_model(self, seed: int = 0, blocks: range | slice | None = None) -> Any:
        """A torch.nn.Sequential of the blocks asked for, or of all; only they are allocated."""
        from lablib.tasks import torch_model

        return torch_model.build(self, seed, self.chosen(blocks))

    def torch_loss(self, outputs, y):
        """Mean cross-entropy of scores (..., classes) and classes (...), a scalar tensor."""
        from lablib.tasks import torch_model

        return torch_model.cross_entropy(outputs, y)

    def torch_arrays(self, model) -> dict[str, np.ndarray]:
        """Copies of the weights of a model or a stage, wrapped by DDP or not."""
        from lablib.tasks import torch_model

        return torch_model.arrays(self, model)

    def tensorflow_model(self, seed: int = 0, blocks: range | slice | None = None) -> Any:
        """A keras.Model of the blocks asked for, or of all; only they are allocated.

        `model.blocks` are its blocks: Keras layers, to call one by one. The variables exist when
        this returns, on the `tf.device` and in the `tf.distribute` scope that it is called in.
        """
        from lablib.tasks import tensorflow_model

        return tensorflow_model.build(self, seed, self.chosen(blocks))

    def tensorflow_loss(self, outputs, y):
        """Mean cross-entropy of scores (..., classes) and classes (...), a scalar tensor."""
        from lablib.tasks import tensorflow_model

        return tensorflow_model.cross_entropy(outputs, y)

    def tensorflow_arrays(self, model) -> dict[str, np.ndarray]:
        """Copies of the weights of a model or a stage."""
        from lablib.tasks import tensorflow_model

        return tensorflow_model.arrays(self, model)


def _plain(array):
    return array.astype(np.int64 if array.dtype.kind in "iu" else np.float32, copy=False)

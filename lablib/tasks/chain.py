"""Chain: a model described block by block, so that both frameworks build the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lablib.frameworks import NAMES
from lablib.tasks import weights
from lablib.tasks.blocks import Block


@dataclass(frozen=True)
class Chain:
    """A chain of blocks; its loss is the mean cross-entropy of the scores that it ends in.

    The names and layouts of arrays are canonical, whatever the framework: `"3.dense.kernel"` is
    an array of block 3; dense kernels are (in, out), conv kernels (height, width, in, out).
    """

    blocks: tuple[Block, ...]
    frameworks = NAMES

    def weights(self, seed: int) -> dict[str, np.ndarray]:
        """The initial weights of the whole model, in order; float32."""
        return {
            f"{number}.{layer}.{array}": value
            for number in range(len(self.blocks))
            for layer, arrays in self.initial(number, seed).items()
            for array, value in arrays.items()
        }

    def initial(self, number: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
        """The initial weights of one block: layer -> array -> float32. No other is made."""
        return weights.initial(self.blocks[number], number, seed)

    def torch_model(self, seed: int, numbers: range) -> Any:
        """A torch.nn.Sequential of the blocks of those numbers."""
        from lablib.tasks import torch_model

        return torch_model.build(self, seed, numbers)

    def torch_loss(self, outputs, y):
        """Mean cross-entropy of scores (..., classes) and classes (...), a scalar tensor."""
        from lablib.tasks import torch_model

        return torch_model.cross_entropy(outputs, y)

    def torch_arrays(self, model) -> dict[str, np.ndarray]:
        """Copies of the weights of a model or a stage, wrapped by DDP or not."""
        from lablib.tasks import torch_model

        return torch_model.arrays(self, model)

    def tensorflow_model(self, seed: int, numbers: range) -> Any:
        """A keras.Model of the blocks of those numbers."""
        from lablib.tasks import tensorflow_model

        return tensorflow_model.build(self, seed, numbers)

    def tensorflow_loss(self, outputs, y):
        """Mean cross-entropy of scores (..., classes) and classes (...), a scalar tensor."""
        from lablib.tasks import tensorflow_model

        return tensorflow_model.cross_entropy(outputs, y)

    def tensorflow_arrays(self, model) -> dict[str, np.ndarray]:
        """Copies of the weights of a model or a stage."""
        from lablib.tasks import tensorflow_model

        return tensorflow_model.arrays(self, model)

"""Chain: a model described block by block, so that both frameworks build the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lablib import frameworks
from lablib.frameworks.framework import Model
from lablib.tasks import weights
from lablib.tasks.blocks import Block


@dataclass(frozen=True)
class Chain:
    """A chain of blocks; its loss is the mean cross-entropy of the scores that the chain returns.

    The names and layouts of arrays are canonical, so they do not depend on the framework:
    `"3.dense.kernel"` is an array of block 3; dense kernels are (in, out), conv kernels (height,
    width, in, out).
    """

    blocks: tuple[Block, ...]
    frameworks = frameworks.NAMES

    def weights(self, seed: int) -> dict[str, np.ndarray]:
        """Return the initial weights of the whole model, in order; float32."""
        return {
            f"{number}.{layer}.{array}": value
            for number in range(len(self.blocks))
            for layer, arrays in self.initial(number, seed).items()
            for array, value in arrays.items()
        }

    def initial(self, number: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
        """Return the initial weights of one block only, {layer: {array: float32}}."""
        return weights.initial(self.blocks[number], number, seed)

    def within(self, framework: str) -> Model:
        """Return the object that builds this chain in a framework, with its loss."""
        return frameworks.get(framework).chain(self)

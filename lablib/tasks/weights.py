"""Initial weights from NumPy and a seed, so that both frameworks start from the same numbers."""

from __future__ import annotations

from math import prod

import numpy as np

from lablib.tasks.blocks import Block, Layer


def initial(block: Block, number: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays of block `number` of a chain: layer name -> array name -> float32 array.

    Each block has its own random stream, so a stage can be made without the blocks before it.
    """
    rng = np.random.default_rng([seed, number])
    return {layer.name: _arrays(layer, rng) for layer in block.layers}


def _arrays(layer: Layer, rng):
    return {name: _array(layer, name, shape, rng) for name, shape in layer.arrays.items()}


def _array(layer, name, shape, rng):
    if name == "bias":
        return np.zeros(shape, np.float32)
    if name == "scale":
        return np.ones(shape, np.float32)
    # A table is looked up, not multiplied, so its rows are the input of the next block.
    fan_in = 1 if name == "table" else prod(shape[:-1])
    normal = rng.standard_normal(shape, dtype=np.float32)
    return normal * np.float32(layer.gain / fan_in**0.5)

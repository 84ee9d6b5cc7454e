"""The model: 64 pixels -> hidden layer with ReLU -> 10 classes. The server uses this file, too."""

import numpy as np


def initial_weights(hidden, seed):
    """Return w1 [64, hidden], b1 [hidden], w2 [hidden, 10], b2 [10], equal in both frameworks."""
    draw = np.random.default_rng(seed).standard_normal
    weights = {
        "w1": draw((64, hidden)) / 8,
        "b1": np.zeros(hidden),
        "w2": draw((hidden, 10)) / hidden**0.5,
        "b2": np.zeros(10),
    }
    return {name: array.astype(np.float32) for name, array in weights.items()}


def scale(images):
    """Return pixels from -1 to 1 instead of 0 to 16."""
    return images / np.float32(8) - 1


def probabilities(weights, images):
    """Return [N, 10]: for each image (raw pixels, [N, 64]) the probability of each digit."""
    hidden = np.maximum(scale(images) @ weights["w1"] + weights["b1"], 0)
    scores = hidden @ weights["w2"] + weights["b2"]
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)

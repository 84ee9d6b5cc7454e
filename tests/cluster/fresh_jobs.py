"""Functions that return the initial state of a rank: random numbers and environment."""

from __future__ import annotations


def draws(me):
    """Return unseeded random numbers from every source, by name."""
    import random
    import uuid

    import numpy as np

    drawn = {
        "random": random.random(),
        "numpy": float(np.random.rand()),
        "default_rng": float(np.random.default_rng().random()),
        "uuid": uuid.uuid4().hex,
    }
    return drawn | (_of_torch() if me.framework == "torch" else _of_tensorflow())


def _of_torch():
    import torch

    weight = torch.nn.Linear(1, 1).weight.item()
    return {"torch": torch.rand(1).item(), "seed": torch.initial_seed(), "layer": weight}


def _of_tensorflow():
    import tensorflow as tf

    layer = tf.keras.layers.Dense(1)
    layer.build((1, 1))
    return {
        "tf.random": float(tf.random.uniform([])),
        "shuffle": tf.random.shuffle(tf.range(50)).numpy().tolist(),
        "graph": float(tf.function(lambda: tf.random.normal([]))()),
        "generator": int(tf.random.get_global_generator().make_seeds()[0, 0]),
        "initializer": float(tf.keras.initializers.GlorotUniform()((1, 1))[0, 0]),
        "layer": float(layer.kernel.numpy()[0, 0]),
        "keras": float(tf.keras.random.uniform((), seed=tf.keras.random.SeedGenerator())),
    }


def seeded(me):
    """Return seeded random numbers from every source, by name."""
    import numpy as np
    import torch

    np.random.seed(5)
    torch.manual_seed(5)
    return float(np.random.rand()), torch.rand(1).item()


def environment(me, names):
    """Return environment variables by name, in ASCII."""
    import os

    return {name: ascii(os.environ.get(name)) for name in names}

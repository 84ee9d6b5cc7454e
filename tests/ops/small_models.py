"""Models for the tests of lab 06's registry and server: real weights, trained with NumPy."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from functools import cache
from pathlib import Path

import numpy as np

from lablib.computer import processes
from lablib.ops import model_files, repository, traffic
from lablib.ops.registry import Registry

MODEL = repository.TEMPLATE / "model.py"
UNSCALED = MODEL.read_text().replace("scale(images) @", "images @")  # the lab's fourth commit
RAISES = "def probabilities(weights, images):\n    raise ValueError('no such luck')\n"
HANGS = "def probabilities(weights, images):\n    while True:\n        pass\n"
EXITS = "import os\ndef probabilities(weights, images):\n    os._exit(3)\n"
NOT_NUMBERS = "def probabilities(weights, images):\n    return images[:, :10] * float('nan')\n"
PRINTS = "print('hello')\n" + MODEL.read_text().replace("    scores", "    print(1)\n    scores", 1)
TAGS = {"commit": "c" * 40, "data_sha256": "d" * 64, "seed": 0, "accuracy": 0.97}


@cache
def weights(steps: int = 100) -> dict[str, np.ndarray]:
    """Return the weights after some steps of gradient descent on the training images."""
    model = model_files.load_module(MODEL)
    images, labels = traffic.stream("train")
    x, y = model.scale(images), np.eye(10)[labels]
    found = model.initial_weights(32, seed=0)
    for _ in range(steps):
        hidden = np.maximum(x @ found["w1"] + found["b1"], 0)
        error = (model.probabilities(found, images) - y) / len(x)
        back = error @ found["w2"].T * (hidden > 0)
        gradients = {
            "w1": x.T @ back,
            "b1": back.sum(0),
            "w2": hidden.T @ error,
            "b2": error.sum(0),
        }
        found = {k: (found[k] - 0.5 * gradients[k]).astype(np.float32) for k in found}
    return found


def register(registry: Registry, folder: Path, model: str | None = None, steps: int = 100) -> int:
    """Register a version with this text of `model.py`, and return its number."""
    np.savez(folder / "weights.npz", **weights(steps))
    (folder / "model.py").write_text(model or MODEL.read_text())
    return registry.register(folder / "weights.npz", folder / "model.py", TAGS)


@contextlib.contextmanager
def server(state: Path):
    """Run the server for a `state` folder, from its start to its end."""
    with open(state / "server.log", "ab") as log:
        process = subprocess.Popen(
            processes.command("lablib.ops.server", str(state)), stdout=log, stderr=log
        )
    try:
        while not is_server_of(process, state):
            assert process.poll() is None, (state / "server.log").read_text()
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def is_server_of(process, state):
    try:
        return json.loads((state / "server.json").read_text())["pid"] == process.pid
    except OSError:
        return False

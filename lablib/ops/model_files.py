"""The files of a model version, `weights.npz` and `model.py`, and what is checked on reading them.

w1 [64, H], b1 [H], w2 [H, 10], b2 [10], all float32, H from 1 to 4096
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lablib.errors import LabError

PIXELS, DIGITS, MOST_HIDDEN = 64, 10, 4096
_MOST_BYTES = 8 << 20
_NAMES = ("w1", "b1", "w2", "b2")
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile)


def load_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Return the four arrays of a weights file. Nothing in the file is unpickled.

    Raises LabError if the file cannot be read, is larger than 8 MB when unpacked, or has other
    names, shapes or types than the weights of this model, or a weight that is not finite.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > _MOST_BYTES:
            raise ValueError(f"{unpacked} bytes when unpacked, at most {_MOST_BYTES} are allowed")
        with np.load(path, allow_pickle=False) as file:
            weights = {name: file[name] for name in file.files}
        _check_weights(weights)
    except _UNREADABLE as error:
        raise LabError(
            "The file with the weights cannot be used.",
            saw=f"{path}: {error}",
            do="write w1 [64, H], b1 [H], w2 [H, 10] and b2 [10] as float32 with numpy.savez",
        ) from error
    return weights


def _check_weights(weights):
    if sorted(weights) != sorted(_NAMES):
        raise ValueError(f"the arrays {', '.join(sorted(weights))}")
    hidden = weights["b1"].size
    if not 1 <= hidden <= MOST_HIDDEN:
        raise ValueError(f"{hidden} hidden units, 1 to {MOST_HIDDEN} are allowed")
    shapes = ((PIXELS, hidden), (hidden,), (hidden, DIGITS), (DIGITS,))
    for name, shape in zip(_NAMES, shapes, strict=True):
        array = weights[name]
        if array.shape != shape or array.dtype != np.float32:
            raise ValueError(f"{name} is {array.dtype} {array.shape}, not float32 {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} contains a number that is not finite")


def load_predict(folder: str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that maps images [N, 64] to probabilities [N, 10].

    folder   contains `weights.npz` and `model.py`, which defines `probabilities(weights, images)`

    This executes `model.py`, which the learner wrote. Raises LabError for unusable weights, and
    whatever `model.py` raises.
    """
    weights = load_weights(Path(folder, "weights.npz"))
    probabilities = load_module(Path(folder, "model.py")).probabilities
    return lambda images: np.asarray(probabilities(weights, images), np.float32)


def load_module(path: Path):
    """Execute a Python file of the project as a module that no other module can import."""
    spec = importlib.util.spec_from_file_location(f"lablib_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

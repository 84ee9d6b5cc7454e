"""The data of a user's own task: arrays, a Dataset or a function, turned into one function."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from lablib.errors import LabError
from lablib.tasks.own_code import attempt
from lablib.tasks.own_files import Folder, writing

_KINDS = "biufc"
_FORMS = "data=(x, y), a map-style Dataset of such pairs, or a function that returns (x, y)"


def kept(data: Any) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """Return a function that gives (x, y) here and on every rank; raise LabError for other data."""
    from torch.utils.data import DataLoader, Dataset, IterableDataset

    if isinstance(data, DataLoader):
        _refuse(f"a {type(data).__name__}", "give its data set: data=loader.dataset")
    if isinstance(data, IterableDataset):
        _refuse(f"a {type(data).__name__}, which has no length", f"write {_FORMS}")
    if isinstance(data, Dataset):
        return Stored(_read, data)
    if isinstance(data, (tuple, list)):
        return Stored(_write, *_pair(data))
    if not callable(data):
        _refuse(f"a {type(data).__name__}", f"write {_FORMS}")
    return Loaded(data)


class Stored:
    """Arrays in two files that every process maps, so that there is only one copy in memory."""

    def __init__(self, write: Callable, *what: Any):
        self.folder = Folder()
        with writing():
            write(self.folder.path, *what)

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        return self._mapped

    @cached_property
    def _mapped(self):
        return tuple(np.load(self.folder.path / name, mmap_mode="r") for name in _NAMES)

    def __getstate__(self):
        return {"folder": self.folder}


class Loaded:
    """The data that the user's function returns; every process that needs them calls it once."""

    def __init__(self, load: Callable):
        self.load = load

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        return self._loaded

    @cached_property
    def _loaded(self):
        return _pair(attempt("The function given as data", "correct it and run again", self.load))

    def __getstate__(self):
        return {"load": self.load}


_NAMES = ("x.npy", "y.npy")


def _write(path, *arrays):
    for name, array in zip(_NAMES, arrays):
        np.save(path / name, array)


def _read(path, dataset):
    """Write the samples into the files one by one, so that only one sample is in memory."""
    items = range(len(dataset))
    if not items:
        _refuse("a Dataset of length 0", "give at least one sample")
    first = _item(dataset, 0)
    files = [
        np.lib.format.open_memmap(path / name, "w+", array.dtype, (len(items), *array.shape))
        for name, array in zip(_NAMES, first)
    ]
    for number in items:
        for file, array, like in zip(files, _item(dataset, number), first):
            if (array.shape, array.dtype) != (like.shape, like.dtype):
                _refuse(
                    f"sample 0 has {_looks(like)}, sample {number} has {_looks(array)}",
                    "give all samples the same shape and type, for example by padding",
                )
            file[number] = array


def _item(dataset, number):
    item = attempt(f"Reading sample {number} of the Dataset", "correct it", lambda: dataset[number])
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        _refuse(f"sample {number} is {_kind(item)}", "make every sample a pair (x, y)")
    return [_array(name, values) for name, values in zip("xy", item)]


def _pair(data):
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        _refuse(_kind(data), f"write {_FORMS}")
    _check_one_input(*data)
    x, y = (_array(name, values) for name, values in zip("xy", data))
    for name, array in (("x", x), ("y", y)):
        if not array.shape or not len(array):
            _refuse(
                f"{name} has shape {array.shape}",
                "give one row for each sample, and at least one sample",
            )
    if len(x) != len(y):
        _refuse(f"{len(x)} rows in x, {len(y)} in y", "give one target for each sample")
    return x, y


def _check_one_input(x, y):
    several = isinstance(x, (tuple, list)) and np.ndim(y) and len(x) != len(y)
    if (
        isinstance(x, dict)
        or several
        and [np.shape(part)[:1] for part in x] == [(len(y),)] * len(x)
    ):
        _refuse(
            f"x is {_kind(x)}, for a model with several inputs",
            "put them into one array, for example np.stack([u, v], axis=1), and let the model's "
            "forward(x) split it: u, v = x[:, 0], x[:, 1]",
        )


def _array(name, values):
    array = attempt(
        f"{name} cannot be read as an array, because it",
        "give an array, or a tensor of a type that NumPy has, for example x.float(); a model "
        "with other weights converts x in its forward(x)",
        _as_array,
        values,
    )
    if array.dtype.kind not in _KINDS:
        _refuse(f"{name} has type {array.dtype}", "give numbers")
    return array


def _as_array(values):
    import torch

    return values.numpy(force=True) if isinstance(values, torch.Tensor) else np.asarray(values)


def _refuse(saw, do):
    raise LabError("No model can be trained on these data.", saw=saw, do=do)


def _looks(array):
    return f"{array.dtype} {array.shape}"


def _kind(value):
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"

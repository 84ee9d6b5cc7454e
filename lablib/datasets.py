"""Read the data files of `datasets/`, make synthetic data, and divide samples among ranks.

`load` reads samples to train on; `table` reads small tables of published facts.

Every load verifies the file's checksum, because a result that cannot be reproduced is worse than
no result.
Each data set has a card, `datasets/<name>.md`, with its source, licence and split.
"""

from __future__ import annotations

import hashlib
import io
import numbers
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lablib.errors import LabError, check_whole, is_whole, unknown

if TYPE_CHECKING:
    import pandas

FOLDER = Path(__file__).resolve().parent.parent / "datasets"


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Samples `x`, targets `y`, and which of them are the test set: the same on every computer.

    is_test   one bool for each sample
    columns   names of the features, if they have names
    classes   names of the classes, if `y` is a class
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    is_test: np.ndarray
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    @property
    def train(self) -> tuple[np.ndarray, np.ndarray]:
        return self.x[~self.is_test], self.y[~self.is_test]

    @property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        return self.x[self.is_test], self.y[self.is_test]

    def __repr__(self) -> str:
        tests = int(self.is_test.sum())
        return (
            f"Dataset {self.name}: {len(self) - tests} train + {tests} test samples, "
            f"x {self.x.dtype} {self.x.shape}, y {self.y.dtype} {self.y.shape}"
        )


def names() -> list[str]:
    """Return the names of the data sets that `load` knows.

    >>> names()
    ['actg175', 'cancer', 'digits', 'stdlib-text']
    """
    return sorted(_READERS)


def load(name: str) -> Dataset:
    """Load the data set of that name and verify its checksum.

    Raises LabError if no data set has that name, or if its file is missing or has changed.

    >>> load("digits")
    Dataset digits: 1438 train + 359 test samples, x float32 (1797, 8, 8), y int64 (1797,)
    """
    if name not in names():
        raise unknown("data set", name, names())
    return _READERS[name](name, _verified(**_checksums()[name]))


def table_names() -> list[str]:
    """Return the names of the tables that `table` knows.

    >>> table_names()
    ['federated-studies', 'run-interruptions', 'watson-concordance', 'watson-events']
    """
    return sorted(set(_checksums()) - set(_READERS))


def table(name: str) -> pandas.DataFrame:
    """Load a table of published facts and verify its checksum.

    Each row has its `source`, the source's address `url`, and `read_on`, the day on which the
    fact was looked up. The table's card, `datasets/<name>.md`, explains the other columns.
    Raises LabError if no table has that name, or if its file is missing or has changed.

    >>> int(table("run-interruptions")["count"].sum())
    419
    """
    import pandas

    if name not in table_names():
        raise unknown("table", name, table_names())
    return pandas.read_csv(io.BytesIO(_verified(**_checksums()[name])))


def synthetic_classification(
    samples: int, features: int, classes: int = 10, distance: float = 6.0, seed: int = 0
) -> Dataset:
    """Make a round cloud of samples for each class, with a random centre.

    x float32 (samples, features), y int64 (samples,). `distance` is the average distance of two
    centres, in standard deviations of a cloud: at 2 the clouds overlap, at 8 they do not.

    >>> synthetic_classification(samples=100, features=8, classes=3)
    Dataset synthetic: 80 train + 20 test samples, x float32 (100, 8), y int64 (100,)
    """
    check_whole(1, samples=samples, features=features, classes=classes)
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((classes, features)) * distance / np.sqrt(2 * features)
    y = rng.integers(classes, size=samples)
    x = (centres[y] + rng.standard_normal((samples, features))).astype(np.float32)
    labels = tuple(map(str, range(classes)))
    return Dataset("synthetic", x, y, _every_fifth(samples), classes=labels)


def synthetic_regression(
    samples: int, features: int, outputs: int = 1, noise: float = 0.1, seed: int = 0
) -> Dataset:
    """Make normal features, and targets that are linear in them (standard deviation 1) plus noise.

    x float32 (samples, features), y float32 (samples, outputs). `noise` is a standard deviation.

    >>> synthetic_regression(samples=100, features=8)
    Dataset synthetic: 80 train + 20 test samples, x float32 (100, 8), y float32 (100, 1)
    """
    check_whole(1, samples=samples, features=features, outputs=outputs)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, features), dtype=np.float32)
    slopes = rng.standard_normal((features, outputs)) / np.sqrt(features)
    y = x @ slopes + noise * rng.standard_normal((samples, outputs))
    return Dataset("synthetic", x, y.astype(np.float32), _every_fifth(samples))


def shard(array, rank: int, ranks: int):
    """Return the samples of one rank: a contiguous slice. Every sample is on exactly one rank.

    `array` is anything with a length that can be sliced. The sizes of two shards differ by at most
    one, and the first ranks get the longer shards. If there are fewer samples than ranks, the last
    ranks get none. Raises LabError if there is no such rank.

    >>> [shard([0, 1, 2, 3, 4], rank, ranks=3) for rank in range(3)]
    [[0, 1], [2, 3], [4]]
    """
    check_whole(1, ranks=ranks)
    if not is_whole(rank) or not 0 <= rank < ranks:
        raise LabError(
            f"There is no rank {rank!r}.", saw=f"{ranks} ranks", do=f"choose 0 to {ranks - 1}"
        )
    size, longer = divmod(len(array), ranks)
    start = rank * size + min(rank, longer)
    return array[start : start + size + (rank < longer)]


def split_by_client(
    y: Sequence | np.ndarray, clients: int, skew: float | None = None, seed: int = 0
) -> list[np.ndarray]:
    """Divide the rows of a data set among clients, such as hospitals; each row has one client.

    y      the target of each row, shape (rows, ...)
    skew   None: equal sizes (they differ by at most one), and the same mix of classes everywhere.
           Or the parameter of a Dirichlet distribution, from which the clients' shares of each
           class are drawn: sizes and mixes are then unequal. The smaller it is, the fewer clients
           share a class: at 0.1 most rows of a class are at one client, at 100 the mix is even

    Returns the row numbers of each client, in ascending order. No client is empty: a client without
    rows gets one row of the largest client. Targets that are not one whole number for each row have
    no classes, so they allow only skew=None.

    Raises LabError if there are fewer rows than clients, if skew is not a number from 0.001 to
    1000000, or if the targets are not classes.

    The shares of each class are drawn as in Flower's `DirichletPartitioner`, which follows
    Yurochkin et al. 2019, Bayesian nonparametric federated learning of neural networks, arXiv
    1905.12022. (Hsu et al. 2019, arXiv 1909.06335, draw the mix of classes of each client instead.)

    >>> [rows.tolist() for rows in split_by_client([0, 0, 1, 1], clients=2)]
    [[0, 2], [1, 3]]
    """
    y = np.asarray(y)
    check_whole(1, clients=clients)
    check_whole(0, seed=seed)
    if len(y) < clients:
        raise LabError(
            "Each client needs at least one row.",
            saw=f"{len(y)} rows for {clients} clients",
            do=f"choose at most {len(y)} clients",
        )
    rng = np.random.default_rng(seed)
    if skew is None:
        order = np.concatenate([rng.permutation(rows) for rows in _rows_of_classes(y)])
        return [np.sort(order[client::clients]) for client in range(clients)]
    _check_skew(y, skew)
    parts = [np.empty(0, np.int64) for _ in range(clients)]
    for rows in _rows_of_classes(y):
        shares = rng.dirichlet([skew] * clients)
        ends = np.round(np.cumsum(shares)[:-1] * len(rows)).astype(int)
        given = np.split(rng.permutation(rows), ends)
        parts = [np.concatenate(pair) for pair in zip(parts, given)]
    return [np.sort(part) for part in _without_empty(parts)]


def _rows_of_classes(y):
    """Return the rows of each class; all rows together if the targets are not classes."""
    if not _are_classes(y):
        return [np.arange(len(y))]
    return [np.flatnonzero(y.ravel() == label) for label in np.unique(y)]


def _are_classes(y):
    return y.size == len(y) and y.dtype.kind in "biuf" and bool(np.all(y == np.floor(y)))


def _check_skew(y, skew):
    is_number = isinstance(skew, numbers.Real) and not isinstance(skew, bool)
    if not is_number or not 1e-3 <= skew <= 1e6:
        raise LabError(
            "skew must be a number from 0.001 to 1000000, or None.",
            saw=f"skew={skew!r}",
            do="write, for example, skew=0.5: most rows of a class are then at few clients",
        )
    if not _are_classes(y):
        raise LabError(
            "Only classes can be skewed, and these targets are not classes.",
            saw=f"targets of shape {y.shape} and type {y.dtype}",
            do="choose skew=None, or give one whole number for each row",
        )


def _without_empty(parts):
    """Return the parts; each empty one has got a row of the part that was the largest."""
    parts = list(parts)
    for empty in [number for number, part in enumerate(parts) if not len(part)]:
        largest = max(range(len(parts)), key=lambda number: len(parts[number]))
        parts[empty] = parts[largest][-1:]
        parts[largest] = parts[largest][:-1]
    return parts


def _every_fifth(samples):
    return np.arange(samples) % 5 == 4


def _checksums():
    try:
        return tomllib.loads((FOLDER / "checksums.toml").read_text())
    except (OSError, ValueError) as error:
        raise LabError(
            "The list of data sets cannot be read.",
            saw=str(error),
            do="restore it: git checkout -- datasets/checksums.toml",
        ) from error


def _verified(file, sha256):
    restore = f"restore it: git checkout -- datasets/{file}"
    try:
        content = (FOLDER / file).read_bytes()
    except OSError as error:
        saw = f"{error}; expected a file with SHA-256 {sha256}"
        raise LabError(f"datasets/{file} cannot be read.", saw=saw, do=restore) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise LabError(
            f"datasets/{file} is damaged: its checksum is not the recorded one.",
            saw=f"SHA-256 {found}\nexpected {sha256}",
            do=restore,
        )
    return content


def _digits(name, content):
    columns, table = _csv(content)
    x = (table[:, :-1] / 16).astype(np.float32).reshape(-1, 8, 8)
    y = table[:, -1].astype(np.int64)
    return Dataset(name, x, y, _every_fifth(len(x)), columns, tuple("0123456789"))


def _patients(name, content, classes):
    columns, table = _csv(content)
    x = table[:, :-1].astype(np.float32)
    y = table[:, -1].astype(np.int64)
    return Dataset(name, x, y, _every_fifth(len(x)), columns, classes)


def _stdlib_text(name, content):
    text = np.frombuffer(bytearray(content), dtype=np.uint8)
    # The tail and not every fifth byte, because a byte is predicted from its neighbours.
    is_test = np.arange(len(text) - 1) >= len(text) * 9 // 10
    return Dataset(name, text[:-1], text[1:], is_test)


def _csv(content):
    header, _, rows = content.decode().partition("\n")
    return tuple(header.split(",")[:-1]), np.loadtxt(io.StringIO(rows), delimiter=",")


_READERS = {
    "actg175": partial(_patients, classes=("350 or more", "below 350")),
    "cancer": partial(_patients, classes=("malignant", "benign")),
    "digits": _digits,
    "stdlib-text": _stdlib_text,
}

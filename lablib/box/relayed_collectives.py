"""The results of a collective, computed outside the ranks from the data that all of them sent.

A rank that takes part in an all-reduce gets the sum and nothing else, so it cannot use the
collective to see the other ranks' data.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from lablib.frameworks.torch.relay_link import DTYPES, NAMES, OPERATIONS, PARTS

_REDUCE = dict(zip(OPERATIONS, (np.add, np.multiply, np.minimum, np.maximum), strict=True))


def results(code: tuple[int, int, int], root: int, parts: Sequence[bytes]) -> list[bytes] | None:
    """Return the result of each rank; None if the parts do not fit together.

    code    numbers of the collective, of the data type and of the operation
    root    the rank of the root, for collectives that have one
    parts   by rank, the data that it sent

    >>> code = NAMES.index("all_reduce"), DTYPES.index("int8"), OPERATIONS.index("SUM")
    >>> results(code, 0, [bytes([1, 2]), bytes([3, 4])])[1].hex()
    '0406'
    """
    name, ranks = NAMES[code[0]], len(parts)
    if name in ("all_reduce", "reduce", "reduce_scatter"):
        total = _reduced(DTYPES[code[1]], OPERATIONS[code[2]], parts)
        if total is None:
            return None
        if name == "all_reduce":
            return [total] * ranks
        return _only(root, total, ranks) if name == "reduce" else _cut(total, ranks)
    if name == "broadcast":
        return [parts[root]] * ranks
    if name == "scatter":
        return _cut(parts[root], ranks)
    if name == "all_to_all":
        return _swapped(parts)
    joined = b"".join(parts)
    return [joined] * ranks if name == "all_gather" else _only(root, joined, ranks)


def _only(root, data, ranks):
    return [data if rank == root else b"" for rank in range(ranks)]


def _cut(data, ranks):
    size, rest = divmod(len(data), ranks)
    return None if rest else [data[rank * size : (rank + 1) * size] for rank in range(ranks)]


def _reduced(dtype, operation, parts):
    if len({len(part) for part in parts}) > 1 or len(parts[0]) % np.dtype(dtype).itemsize:
        return None
    arrays = [np.frombuffer(part, dtype) for part in parts]
    with np.errstate(all="ignore"):
        return functools.reduce(_REDUCE[operation], arrays).astype(dtype).tobytes()


def _swapped(parts):
    """Exchange the pieces of all ranks; each rank's data begin with the lengths of its pieces."""
    ranks, pieces = len(parts), []
    head = PARTS.size * ranks
    for part in parts:
        lengths = [length for (length,) in PARTS.iter_unpack(part[:head])]
        if len(lengths) != ranks or head + sum(lengths) != len(part):
            return None
        ends = np.cumsum([head, *lengths]).tolist()
        pieces.append([part[start:end] for start, end in zip(ends, ends[1:])])
    return [b"".join(piece[rank] for piece in pieces) for rank in range(ranks)]

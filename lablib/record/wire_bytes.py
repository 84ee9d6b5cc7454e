"""Compute how many bytes a rank's link carries because of one message: the wire bytes.

A payload is what a rank passes to the call. Different kinds of calls need different traffic for the
same payload, so payloads cannot be compared, but wire bytes can.
"""

from __future__ import annotations

from collections.abc import Callable

# (payload of this rank, ranks) -> bytes in the busier direction of its link.
_FORMULAS: dict[str, Callable[[float, int], float]] = {
    "send": lambda n, ranks: n,
    "recv": lambda n, ranks: n,
    "all_reduce": lambda n, ranks: 2 * (ranks - 1) * n / ranks,
    "reduce_scatter": lambda n, ranks: (ranks - 1) * n / ranks,
    "all_gather": lambda n, ranks: (ranks - 1) * n,
    "all_to_all": lambda n, ranks: (ranks - 1) * n / ranks,
    "broadcast": lambda n, ranks: n,
    "reduce": lambda n, ranks: n,
    "gather": lambda n, ranks: (ranks - 1) * n,
    "scatter": lambda n, ranks: (ranks - 1) * n / ranks,
    "barrier": lambda n, ranks: 0.0,
}


def wire_bytes(name: str, nbytes: float, ranks: int) -> float:
    """Return the bytes that a rank's link carries because of one message.

    A link carries bytes in both directions at once. The busier direction is counted.

    name     "send", "recv", or a collective as the recorder names it
    nbytes   payload n that this rank passes to the call
    ranks    number of ranks R that take part; a message of a rank to itself needs no link

    The formulas are those of the algorithms that send the fewest bytes:

    all_reduce       2 (R - 1) / R n: a ring, which is a reduce-scatter and then an all-gather
    reduce_scatter   (R - 1) / R n
    all_gather       (R - 1) n, because n is only this rank's part of the result
    all_to_all       (R - 1) / R n: what a rank keeps for itself is not sent. A trace does not show
                     how a rank splits its payload, so uneven splits count as even ones
    broadcast        n: in a chain of ranks, each rank receives n bytes and passes them on
    reduce           n: the same chain in the other direction
    gather           (R - 1) n: the root receives them. The other links carry only n, but a trace
                     does not show which rank is the root, so every rank counts as if it were
    scatter          (R - 1) / R n on the root, which alone passes a payload
    send, recv       n
    barrier          0

    They agree with the bus bandwidth of nccl-tests (doc/PERFORMANCE.md). The library that does
    the work may use another algorithm and send more. Raises ValueError for an unknown name.

    >>> wire_bytes("all_reduce", 1000, ranks=4)
    1500.0
    >>> wire_bytes("reduce_scatter", 1000, ranks=4) + wire_bytes("all_gather", 250, ranks=4)
    1500.0
    >>> wire_bytes("broadcast", 1000, ranks=4), wire_bytes("all_reduce", 1000, ranks=1)
    (1000.0, 0.0)
    """
    if name not in _FORMULAS:
        raise ValueError(f"{name!r}: known messages are {', '.join(_FORMULAS)}")
    return float(_FORMULAS[name](nbytes, ranks)) if ranks > 1 else 0.0

"""Secure aggregation: add up the hospitals' weights so that nobody sees those of one hospital.

Weights become whole numbers modulo 2^32. Every two hospitals share a secret seed, from which both
make the same random numbers, the mask of this pair. One of them adds the mask to its numbers, and
the other one subtracts it. In the sum over all hospitals the masks cancel exactly, because
arithmetic modulo 2^32 does not round.

This is the core of the protocol of Bonawitz et al. 2017. The kit simplifies it, and is not safe for
real patients:

- The hospitals agree on seeds by a Diffie-Hellman key exchange, so that somebody who reads all
  messages does not learn them. But nobody signs a public key, so a server that replaces keys by its
  own would learn everything.
- Everybody knows who misses a round. The others then reveal the masks that they share with the
  missing hospitals. In the protocol they reveal secret shares, with which the server recovers the
  keys of the missing hospitals. It needs a minimum number of survivors for this.
- A hospital has no second mask of its own. The protocol adds one, so that a message stays secret if
  it arrives late, after the pair masks were revealed.
- Nobody checks that hospitals follow the rules, or protects what the average itself reveals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lablib.errors import LabError, is_whole
from lablib.strategies import federated
from lablib.strategies.federated import Round
from lablib.tasks import Task

READ = (
    "Bonawitz et al. 2017, Practical secure aggregation for privacy-preserving machine learning, "
    "https://eprint.iacr.org/2017/281"
)
# fraction_bits   binary digits of a weight after the point
OPTIONS = {**federated.OPTIONS, "fraction_bits": 20}
KEY_BYTES = 32
# With fewer bits, rounding would be visible; with more, float32 has no more digits to offer.
LEAST_BITS, MOST_BITS = 8, 24


def fits(task: Task, ranks: int, batch: int, fraction_bits: int, **options: Any) -> str:
    """Return why this cannot be trained; "" if it can."""
    if not is_whole(fraction_bits) or not LEAST_BITS <= fraction_bits <= MOST_BITS:
        bounds = f"from {LEAST_BITS} to {MOST_BITS}"
        return f"fraction_bits={fraction_bits!r} is not a whole number {bounds}"
    return federated.fits(task, ranks, batch, **options)


def agree(rank: int, ranks: int, all_reduce: Callable[[np.ndarray], np.ndarray]) -> list[bytes]:
    """Return the secret seed that this rank shares with each rank; the one with itself is unused.

    all_reduce   sums an array of uint32 over all ranks, modulo 2^32

    This is a Diffie-Hellman key exchange on the curve X25519 (RFC 7748). Each rank writes its
    public key into its own row of a table, and the sum of the tables has the keys of all ranks.
    """
    from cryptography.hazmat.primitives.asymmetric import x25519

    private = x25519.X25519PrivateKey.generate()
    table = np.zeros((ranks, KEY_BYTES // 4), np.uint32)
    table[rank] = np.frombuffer(private.public_key().public_bytes_raw(), np.uint32)
    keys = [x25519.X25519PublicKey.from_public_bytes(row.tobytes()) for row in all_reduce(table)]
    return [private.exchange(key) for key in keys]


def mask(seed: bytes, number: int, length: int) -> np.ndarray:
    """Return the mask of a pair in a round: uint32 [length]. Without the seed nobody can guess it.

    number   the number of the round

    >>> mask(b"secret", 0, length=2).tolist() == mask(b"secret", 0, length=2).tolist()
    True
    """
    stream = hashlib.shake_256(seed + number.to_bytes(8, "big")).digest(4 * length)
    return np.frombuffer(stream, "<u4").astype(np.uint32)


def masks(rank: int, others: Iterable[int], seeds: list[bytes], number: int, length: int):
    """Return the sum of the masks that this rank shares with the others: uint32 [length].

    The lower rank of a pair adds the mask, the higher one subtracts it.
    """
    total = np.zeros(length, np.uint32)
    for other in others:
        if other > rank:
            total += mask(seeds[other], number, length)
        elif other < rank:
            total -= mask(seeds[other], number, length)
    return total


def whole_numbers(weights: np.ndarray, share: float, fraction_bits: int) -> np.ndarray:
    """Return weights x share as fixed-point numbers modulo 2^32: uint32, negative ones wrapped.

    Raises LabError if a weight is so large that the sum over all hospitals would not fit.

    >>> whole_numbers(np.array([1.0, -1.0]), share=0.5, fraction_bits=8).tolist()
    [128, 4294967168]
    """
    limit = 2.0 ** (31 - fraction_bits) - 1
    largest = float(np.abs(weights).max())
    if not largest <= limit:  # True for NaN, too
        raise LabError(
            "The weights do not fit into the fixed-point numbers of secure aggregation.",
            saw=f"a weight of size {largest:g}; with fraction_bits={fraction_bits}, weights may be "
            f"at most {limit:g}",
            do="choose a smaller learning rate if training diverges, or fewer fraction_bits",
        )
    scaled = np.rint(weights.astype(np.float64) * share * 2**fraction_bits)
    return scaled.astype(np.int64).astype(np.uint32)


def real_numbers(total: np.ndarray, fraction_bits: int) -> np.ndarray:
    """Return float32 numbers from fixed-point numbers modulo 2^32.

    >>> real_numbers(np.array([128, 4294967168], np.uint32), fraction_bits=8).tolist()
    [0.5, -0.5]
    """
    return (total.view(np.int32) / 2**fraction_bits).astype(np.float32)


def average(
    weights: np.ndarray,
    now: Round,
    rank: int,
    seeds: list[bytes],
    fraction_bits: int,
    all_reduce: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return the weighted mean of the weights of all hospitals in this round: float32 [length].

    weights      of this rank, float32 [length]
    seeds        as from `agree`
    all_reduce   sums uint32 [length] over all ranks, modulo 2^32

    A hospital that misses the round sends zeros, because all ranks take part in an all-reduce. Its
    masks are then missing in the sum, so the others reveal them in a second all-reduce.
    """
    missing = [other for other, share in enumerate(now.shares) if share == 0.0]
    length = len(weights)
    nothing = np.zeros(length, np.uint32)
    if rank in missing:
        total = all_reduce(nothing)
        return real_numbers(total - all_reduce(nothing), fraction_bits)
    mine = whole_numbers(weights, now.shares[rank], fraction_bits)
    total = all_reduce(mine + masks(rank, range(len(seeds)), seeds, now.number, length))
    if missing:
        total = total - all_reduce(masks(rank, missing, seeds, now.number, length))
    return real_numbers(total, fraction_bits)

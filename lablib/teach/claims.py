"""Claims: checkable sentences about an answer, and the ways to make them.

The values come from a process that runs the learner's code, so they can be any plain data. A claim
therefore never trusts a type: `alike` compares values with exact types and shapes, and NaN is equal
to nothing.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

VALUES = "values"
OUTSIDE = "outside"
RANK = "rank"
_LONGEST_SHOWN, _CUT = 240, " ..."
_VOLUME_TOLERANCE = 0.05


@dataclass(frozen=True)
class Claim:
    """One checkable sentence about an answer, and whether it holds in a case.

    expected, saw   what was expected and what was seen, in words; shown if the claim does not hold
    rank       the rank that the claim is about; None: no particular rank
    hints      hints for the learner: the first after the first failure, the second after later ones
    evidence   "values" (returned by ranks, from data that only they had), "outside" (observed from
               outside the ranks), "rank" (only the rank's own record shows it). A claim with
               the evidence "rank" gives points only if all others hold
    weight     how much it counts compared with the other claims of the case
    """

    text: str
    holds: bool
    expected: str = ""
    saw: str = ""
    rank: int | None = None
    hints: tuple[str, ...] = ()
    evidence: str = VALUES
    weight: float = 1.0


def share(claims: Sequence[Claim]) -> float:
    """Return the part of a case's points that its claims earn, 0 to 1.

    >>> share([Claim("sum", True), Claim("in one message", False)])
    0.5
    >>> share([Claim("sum", False), Claim("overlap", True, evidence="rank")])
    0.0
    """
    total = sum(claim.weight for claim in claims)
    sound = all(claim.holds for claim in claims if claim.evidence != RANK)
    earned = sum(c.weight for c in claims if c.holds and (sound or c.evidence != RANK))
    return earned / total if total else 0.0


def earned(shares: Iterable[tuple[int, float]]) -> float:
    """Return the part of the points that cases earn: half for their single claims, half for all.

    The second half needs all claims to hold. So an answer that does not use the technique of the
    exercise earns at most half.

    shares   for each case, which of the exercise's answers it tries, and its `share`; all answers
             count the same, whatever the number of their cases

    >>> earned([(0, 1.0), (0, 0.5)]), earned([(0, 1.0), (0, 1.0)]), earned([(0, 1.0), (1, 0.0)])
    (0.375, 1.0, 0.5)
    """
    by_answer: dict[int, list[float]] = {}
    for answer, part in shares:
        by_answer.setdefault(answer, []).append(part)
    means = [sum(parts) / len(parts) for parts in by_answer.values()]
    halved = [mean if mean == 1 else mean / 2 for mean in means]
    return sum(halved) / len(halved) if halved else 0.0


def equal(text: str, expected: object, saw: object, *, rtol: float = 1e-4, **more) -> Claim:
    """Claim that `saw` equals `expected`, with numbers within `rtol` of the largest; see `alike`.

    more   hints, rank, weight, evidence
    """
    return Claim(
        text, alike(expected, saw, rtol), *_describe_difference(expected, saw, rtol), **more
    )


def equal_by_rank(text: str, expected: Sequence, saw: Sequence, *, rtol=1e-4, **more) -> Claim:
    """Claim that each rank has the expected value; if not, show the first rank that has not."""
    for rank, (due, got) in enumerate(zip(expected, saw, strict=True)):
        if not alike(due, got, rtol):
            return Claim(text, False, *_describe_difference(due, got, rtol), rank=rank, **more)
    return Claim(text, True, **more)


def only_all_reduces(text: str, seen, ranks: int, most_bytes: int, **more) -> Claim:
    """Claim that each rank puts in nothing but all-reduces, of at most `most_bytes` together.

    seen   a `Seen`
    more   hints
    """
    put_in = {rank: seen.put_in(rank) for rank in range(ranks)}
    wrong = next((rank for rank in put_in if not _only_sums(put_in[rank], most_bytes)), None)
    named = [f"{name} of {nbytes:,} B" for _, name, nbytes in put_in.get(wrong, ())]
    saw = "" if wrong is None else ", ".join(named) or "no message"
    due = f"all_reduce, at most {most_bytes:,} B"
    return Claim(text, wrong is None, due, saw, wrong, evidence=seen.evidence, **more)


def _only_sums(put_in, most_bytes):
    names, sizes = {name for _, name, _ in put_in}, [nbytes for *_, nbytes in put_in]
    return names == {"all_reduce"} and sum(sizes) <= most_bytes


def volume(text: str, seen, nbytes: float, spare_bytes: float = 0, **more) -> Claim:
    """Claim that all ranks together sent `nbytes` over their network, within 5 %, with headers.

    nbytes   bytes of payload that pass a link, such as 2 (R-1) n for a ring all-reduce of n bytes
             on R ranks; at least 1 MB, so that handshakes do not matter
    spare_bytes   bytes that right answers may send in addition, such as the first weights
    seen     a `Seen`. If bytes were counted outside the ranks, this number decides; else the ranks'
             own record must show messages at all
    """
    if seen.loopback_bytes is None:
        counted = sum(e[2] for e in seen.put_in())
        text = f"{text} (only grading counts its bytes)"
        told = "messages", f"{counted:,} B put in"
        return Claim(text, counted > 0, *told, evidence=OUTSIDE, **more)
    off = _VOLUME_TOLERANCE * nbytes
    most = nbytes + spare_bytes
    holds = nbytes - off <= seen.loopback_bytes <= most + off
    about = f"{nbytes:,.0f} to {most:,.0f}" if spare_bytes else f"about {nbytes:,.0f}"
    return Claim(
        text, holds, f"{about} B on the network", f"{seen.loopback_bytes:,} B",
        evidence=OUTSIDE, **more,
    )  # fmt: skip


def alike(expected: object, saw: object, rtol: float = 1e-4) -> bool:
    """Return whether `saw` equals `expected`: same type, shape and order, numbers within a bound.

    The bound is rtol times the largest number.

    An int must be an int, a float may be any real number, an array may be a list of numbers.

    >>> alike([1, 2.0], [1, 2.00001]), alike(1, True), alike(1.0, float("nan"))
    (True, False, False)
    >>> alike(np.ones(2), [1, 1]), alike(np.ones(2), [1, 1, 1])
    (True, False)
    """
    if isinstance(expected, np.ndarray):
        return _alike_arrays(expected, saw, rtol)
    if isinstance(expected, dict):
        same = isinstance(saw, dict) and expected.keys() == saw.keys()
        return same and all(alike(expected[key], saw[key], rtol) for key in expected)
    if isinstance(expected, (list, tuple)):
        same = isinstance(saw, (list, tuple)) and len(expected) == len(saw)
        return same and all(alike(a, b, rtol) for a, b in zip(expected, saw, strict=True))
    if isinstance(expected, (bool, str, bytes)) or expected is None:
        return type(saw) is type(expected) and saw == expected
    if isinstance(expected, numbers.Integral):
        return isinstance(saw, numbers.Integral) and not isinstance(saw, bool) and saw == expected
    real = isinstance(saw, numbers.Real) and not isinstance(saw, bool)
    return real and bool(abs(saw - expected) <= rtol * abs(expected) + 1e-12)


def _alike_arrays(expected, saw, rtol):
    if not isinstance(saw, (np.ndarray, list, tuple, np.generic)):
        return False
    try:
        saw = np.asarray(saw)
    except ValueError:  # rows of different lengths
        return False
    if saw.shape != expected.shape or saw.dtype.kind not in "iuf":
        return False
    if saw.size == 0:
        return True
    largest = float(np.abs(expected).max())
    return bool(np.abs(saw - expected.astype(float)).max() <= rtol * largest + 1e-12)


def first_difference(expected, saw, rtol: float = 1e-4, at: str = "") -> tuple:
    """Return where two values first differ, and both values there; in an array, the worst number.

    >>> first_difference([1, {"a": np.ones(2)}], [1, {"a": np.array([1.0, 0.5])}])
    ("[1]['a'][1]", 1.0, 0.5)
    """
    for place, due, got in _parts(expected, saw):
        if not alike(due, got, rtol):
            return first_difference(due, got, rtol, f"{at}[{place}]")
    return at, expected, saw


def _parts(expected, saw):
    """Return (place, expected, seen) of the parts of two values with the same structure."""
    if isinstance(expected, np.ndarray):
        return _farthest(expected, saw)
    if isinstance(expected, dict) and isinstance(saw, dict) and expected.keys() == saw.keys():
        return [(repr(key), expected[key], saw[key]) for key in expected]
    both = isinstance(expected, (list, tuple)) and isinstance(saw, (list, tuple))
    same = both and len(expected) == len(saw)
    return list(zip(range(len(expected)), expected, saw, strict=True)) if same else []


def _farthest(expected, saw):
    numbers_alike = isinstance(saw, np.ndarray) and saw.dtype.kind in "iuf"
    if not numbers_alike or saw.shape != expected.shape or not saw.size:
        return []
    at = np.unravel_index(np.abs(saw - expected.astype(float)).argmax(), saw.shape)
    return [(", ".join(map(str, at)), float(expected[at]), float(saw[at]))]


def _describe_difference(expected, saw, rtol):
    """Describe both values; for long ones, only the first part that differs and where it is."""
    words = show(expected), show(saw)
    if not any(text.endswith(_CUT) for text in words):
        return words
    at, due, got = first_difference(expected, saw, rtol)
    return tuple(f"{show(part)} at {at}" if at else show(part) for part in (due, got))


def real(value: object) -> float | None:
    """Return a real number of any type as a float; None if it is not a real number.

    >>> real(np.float32(0.5)), real(np.array([2])), real(True), real("1")
    (0.5, 2.0, None, None)
    """
    value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return float(value) if is_real else None


def whole_numbers(values: object) -> list[int] | None:
    """Return a list, tuple or array of whole numbers as a list; None for anything else.

    >>> whole_numbers(np.array([0, 2])), whole_numbers((np.int64(1),)), whole_numbers([1.0])
    ([0, 2], [1], None)
    """
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    whole = isinstance(listed, (list, tuple)) and all(
        isinstance(n, numbers.Integral) and not isinstance(n, bool) for n in listed
    )
    return [int(n) for n in listed] if whole else None


def show(value: object) -> str:
    """Describe a value in a few words, on one line.

    >>> show(np.arange(100.0)), show({"a": 1})
    ('[ 0. 1. 2. ... 97. 98. 99.], shape [100]', "{'a': 1}")
    >>> show(2 / 3), show(2.0), show(2)
    ('0.666667', '2', '2')
    """
    if isinstance(value, np.ndarray):
        with np.printoptions(precision=5, threshold=8, edgeitems=3):
            text = f"{value}, shape {list(value.shape)}"
    elif isinstance(value, float):
        text = f"{value:.6g}"
    else:
        text = str(value) if isinstance(value, str) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + _CUT


def first_failing(claims: Iterable[Claim]) -> Claim | None:
    """Return the claim to work on first, or None if all hold."""
    failing: Iterator[Claim] = (claim for claim in claims if not claim.holds)
    return next(failing, None)

"""1.6 Find the bandwidth below which 8 ranks are slower than 4, on modelled hardware."""

import math

import numpy as np

from lablib.hardware import Hardware, Link
from lablib.teach.claims import Claim, equal, real, show
from lablib.teach.exercise import Case

ANSWERS = ("break_even_bytes_per_s(compute_s, nbytes, latency_s)",)
TITLE = "Where more ranks are slower"
POINTS = 4

_FEW, _MANY, _WITHIN = 4, 8, 0.01
_NEVER = (
    "Here even an infinitely fast network does not help. Which part of a step remains then?",
    "8 ranks save compute_s / 8 of computing. How much latency do their messages add?",
)
_EQUAL = (
    "At the bandwidth that you look for, a step takes equally long on 4 and on 8 ranks.",
    "Write both step times with B unknown. Move the terms with 1 / B to one side and the rest to "
    "the other.",
)
_BITS = ("You are off by a factor of 8: the answer is in bytes a second, not bits.",)
_LATENCY = ("Each of the 2 (R-1) messages also takes latency_s, and 8 ranks send more of them.",)
_OTHER = ("You compare 8 ranks with 1 rank. Compare them with 4 ranks.",)
_CHUNK = ("A message in the ring carries nbytes / R, not nbytes.",)


def cases(seed):
    rng = np.random.default_rng(seed)
    return [
        case_of(rng.uniform(0.05, 0.1), 4_000_000, 50e-6),
        case_of(rng.uniform(1, 2), 400_000_000, 0.01),
        case_of(rng.uniform(1e-3, 2e-3), 100_000, 300e-6),
    ]


def case_of(compute_s, nbytes, latency_s):
    compute_s = round(compute_s, 6)
    shared = {"compute_s": compute_s, "nbytes": nbytes, "latency_s": latency_s}
    name = f"compute {compute_s:g} s, gradients {nbytes:,} B, latency {latency_s:g} s"
    return Case(name, shared)


def observe(me, answer, given):
    return answer(given.compute_s, given.nbytes, given.latency_s)


def judge(case, seen):
    got = real(seen.values[0])
    if slower(case, math.inf):
        none = got == math.inf
        yield equal("no bandwidth makes 8 ranks as fast as 4: float('inf')", "inf",
                    "inf" if none else show(seen.values[0]), hints=_NEVER)  # fmt: skip
        return
    more, less = _at(case, got, 1 + _WITHIN), _at(case, got, 1 - _WITHIN)
    yield Claim("8 ranks are faster than 4 at 1 % more than your bandwidth, slower at 1 % less",
                (more, less) == (False, True), "faster, then slower",
                _comparison_shown(seen.values[0], more, less), hints=_hints(case, got))  # fmt: skip


def step_s(case, ranks, bytes_per_s):
    """Return the seconds of a step that first computes and then sums its gradients in a ring."""
    link = Link(bytes_per_s, case.shared["latency_s"])
    machine = Hardware("t4", nodes=ranks, between=link, all_reduce="ring")
    ring_s = machine.message_s("all_reduce", case.shared["nbytes"], range(ranks))
    return case.shared["compute_s"] / ranks + ring_s


def slower(case, bytes_per_s):
    return step_s(case, _MANY, bytes_per_s) > step_s(case, _FEW, bytes_per_s)


def _at(case, got, times):
    """Return True if 8 ranks are slower at `times` times the answer; None: not a bandwidth."""
    return slower(case, got * times) if got is not None and 0 < got < math.inf else None


def _comparison_shown(got, more, less):
    if more is None:
        return f"{show(got)} is not a bandwidth"
    words = ", then ".join("slower" if is_slower else "faster" for is_slower in (more, less))
    return f"{words}; your bandwidth is {got:,.4g} B/s"


def _hints(case, got):
    """Return the hints that fit the mistake behind the number."""
    compute_s, nbytes, latency_s = case.shared.values()
    chunks = [2 * (ranks - 1) / ranks for ranks in (_MANY, _FEW)]
    saved_s = compute_s / _FEW - compute_s / _MANY
    right = (chunks[0] - chunks[1]) * nbytes / (saved_s - 2 * (_MANY - _FEW) * latency_s)
    known = (
        (8 * right, _BITS),
        ((chunks[0] - chunks[1]) * nbytes / saved_s, _LATENCY),
        (2 * (_MANY - _FEW) * nbytes / (saved_s - 2 * (_MANY - _FEW) * latency_s), _CHUNK),
        (chunks[0] * nbytes / (compute_s * (1 - 1 / _MANY) - 2 * (_MANY - 1) * latency_s), _OTHER),
    )
    if _at(case, got, 1) is None:
        return _EQUAL
    off, hints = min((abs(got / value - 1), hints) for value, hints in known)
    return hints if off < _WITHIN else _EQUAL

"""Whatever ranks write on their boards, or tell the grader, whoever reads it goes on."""

from __future__ import annotations

import math
import random
from functools import partial

import pytest

from lablib.box import untrusted_boards
from lablib.cluster import deadlock, failures, hang_advice
from lablib.cluster.engine import messages

ANYTHING = [None, True, -1, 10**400, 1.5, "", "x" * 70, "recv", [], [0, 1], [[9]], {}, {"c": []}]
LIKELY = {
    "state": ["waiting", "returned", "running"],
    "name": ["recv", "send", "all_reduce"],
    "group": [[0, 1], [1, 0], [9, -5], [10**400], [0]],
    "channel": ["c", "::"],
    "order": [0, 1, -3, 10**400],
    "line": ["", None, "a.py:9"],
}


def board(rng):
    """One that is nearly right: then most is asked of it."""
    return {key: rng.choice(likely if rng.random() < 0.85 else ANYTHING)
            for key, likely in LIKELY.items() if rng.random() < 0.95}  # fmt: skip


def issued(counts, rank, channel):
    return counts[rank]


def test_boards_of_any_kind_can_be_compared_and_told():
    rng, compared = random.Random(0), 0
    for _ in range(20_000):
        shown = [one if untrusted_boards.is_plain(one) else {} for one in (board(rng), board(rng))]
        compared += all(shown)
        counts = {n: rng.choice([0, 1, math.inf]) for n in range(2)}
        deadlock.deadlock(shown, partial(issued, counts))
        hang_advice.advice(shown, partial(issued, counts))
        for rank, one in enumerate(shown):
            assert failures.waiting_line(rank, one)
    assert compared > 1000


@pytest.mark.parametrize("seconds", [10**400, float("inf"), "1"], ids=["huge", "inf", "text"])
def test_a_time_that_is_none_is_refused(seconds):
    told = {"kind": "error", "cause": messages.RAISED, "type": "E", "text": "", "frames": [],
            "echo": False}  # fmt: skip
    assert messages.kind_of(told | {"at_s": 1}) == "error"
    with pytest.raises(ValueError, match="another form"):
        messages.kind_of(told | {"at_s": seconds})

"""Ranks may write anything on their boards or to the grader: readers must survive it."""

from __future__ import annotations

import math
import random
from functools import partial

import pytest

from lablib.cluster import deadlock, failures, hang_advice
from lablib.cluster.engine import messages
from lablib.record.board import Board, BoardFile, board_of

ANYTHING = [None, True, -1, 10**400, 1.5, "", "x" * 70, "recv", [], [0, 1], [[9]], {}, {"c": []}]
LIKELY = {
    "state": ["waiting", "returned", "running", ""],
    "steps": [0, 3],
    "sent_bytes": [0, 8],
    "logged": [{}, {"loss": 0.5, "at": "x"}],
    "name": ["recv", "send", "all_reduce", ""],
    "group": [[0, 1], [1, 0], [9, -5], [2**53, 0], [0]],
    "channel": ["c", "::"],
    "order": [0, 1, 2**53],
    "line": ["", ":0", "a.py:9"],
}


def board(rng):
    """Return a board that is nearly right, because these are the hardest to check."""
    values = [rng.choice(LIKELY[f] if rng.random() < 0.95 else ANYTHING) for f in Board._fields]
    try:
        return board_of(values)
    except ValueError:
        return Board()


def issued(counts, rank, channel):
    return counts[rank]


def test_boards_of_any_kind_can_be_compared_and_told():
    rng, compared = random.Random(0), 0
    for _ in range(20_000):
        shown = [board(rng), board(rng)]
        compared += Board() not in shown
        counts = {n: rng.choice([0, 1, math.inf]) for n in range(2)}
        deadlock.deadlock(shown, partial(issued, counts))
        hang_advice.advice(shown, partial(issued, counts))
        for rank, one in enumerate(shown):
            assert failures.waiting_line(rank, one)
    assert compared > 1000


WAITING = ["waiting", 3, 8, {"loss": 0.5}, "recv", [0, 1], "0>1", 1, "a.py:9"]
FORGED = [
    ("state", "asleep"), ("steps", -1), ("steps", True), ("sent_bytes", 0.5), ("logged", {"x": []}),
    ("logged", {"x": 10**400}), ("name", ""), ("name", "x" * 61), ("group", "01"), ("group", [0]),
    ("group", [0, None]), ("group", [0, 10**400]), ("channel", None), ("order", -1), ("line", None),
    ("line", "a.py"), ("line", "x" * 201 + ":9"),
]  # fmt: skip


@pytest.mark.parametrize("field, value", FORGED, ids=[f"{n}={str(v)[:9]}" for n, v in FORGED])
def test_a_board_that_no_recorder_writes_shows_nothing(tmp_path, field, value):
    forged = [value if name == field else one for name, one in zip(Board._fields, WAITING)]
    assert shown(tmp_path, WAITING) == Board(*WAITING)._replace(group=(0, 1))
    assert shown(tmp_path, forged) == Board()


def test_a_board_with_other_fields_shows_nothing(tmp_path):
    for forged in (WAITING[:-1], [*WAITING, 0], dict(zip(Board._fields, WAITING)), None):
        assert shown(tmp_path, forged) == Board()


def shown(folder, values):
    BoardFile(str(folder / "board")).write(values)
    return BoardFile.read(folder / "board")


@pytest.mark.parametrize("seconds", [10**400, float("inf"), "1"], ids=["huge", "inf", "text"])
def test_a_time_that_is_none_is_refused(seconds):
    told = {"kind": "error", "cause": messages.RAISED, "type": "E", "text": "", "frames": [],
            "echo": False}  # fmt: skip
    assert messages.read(told | {"at_s": 1}).at_s == 1
    with pytest.raises(ValueError, match="not a message of a rank"):
        messages.read(told | {"at_s": seconds})

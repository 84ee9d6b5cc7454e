"""What a rank's board shows to a reader in another process."""

import subprocess
import sys

import pytest

from lablib.record.board import Board

RUNNING = {"state": "running", "issued": {"0": 7}, "steps": 3, "told": {}}
WAITING = {"state": "waiting", "issued": {"0": 7}, "steps": 3, "told": {}, "group": [0, 1]}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "board")


def test_a_board_shows_what_was_written(path):
    assert Board.read(path) == {}
    board = Board(path)
    assert Board.read(path) == {}
    board.write(WAITING)
    assert Board.read(path) == WAITING
    board.running()
    assert Board.read(path) == WAITING | {"state": "running"}
    board.write(RUNNING)
    assert Board.read(path) == RUNNING


def test_half_of_one_state_and_half_of_the_next_is_no_state(path):
    board = Board(path)
    board.write(WAITING)
    waiting = bytes(board._map)
    board.write(RUNNING)
    running = bytes(board._map)
    for cut in range(waiting.index(b"\n") + 1):
        board._map[:] = waiting[:cut] + running[cut:]
        assert Board.read(path) in ({}, WAITING, WAITING | {"state": "running"}, RUNNING)


def test_a_board_may_be_read_while_it_is_written(path):
    code = f"""
from lablib.record.board import Board
board = Board({path!r})
while True:
    board.write({WAITING})
    board.running()
    board.write({RUNNING})
"""
    whole = [WAITING, WAITING | {"state": "running"}, RUNNING]
    with subprocess.Popen([sys.executable, "-c", code]) as writer:
        try:
            while not Board.read(path):
                assert writer.poll() is None
            seen = [Board.read(path) for _ in range(20_000)]
        finally:
            writer.kill()
    assert all(state in whole or state == {} for state in seen)
    assert WAITING in seen and RUNNING in seen


def test_what_no_rank_wrote_is_no_state(path):
    for text in (b"", b"\n", b"+", b"{}", b"+00000000", b"\xff" * 4096):
        with open(path, "wb") as file:
            file.write(text)
        assert Board.read(path) == {}

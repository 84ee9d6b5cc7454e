"""A rank's board, read by another process."""

import subprocess
import sys

import pytest

from lablib.record.board import Board, BoardFile

RUNNING = Board("running", steps=3)
WAITING = Board("waiting", 3, 8, {"loss": 0.5}, "all_reduce", (0, 1), "0", 1, "a.py:9")
GOES_ON = WAITING._replace(state="running")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "board")


def test_a_board_shows_what_was_written(path):
    assert BoardFile.read(path) == Board()
    board = BoardFile(path)
    assert BoardFile.read(path) == Board()
    board.write(WAITING)
    assert BoardFile.read(path) == WAITING
    board.running()
    assert BoardFile.read(path) == GOES_ON
    board.write(RUNNING)
    assert BoardFile.read(path) == RUNNING


def test_half_of_one_state_and_half_of_the_next_is_no_state(path):
    board = BoardFile(path)
    board.write(WAITING)
    waiting = bytes(board._map)
    board.write(RUNNING)
    running = bytes(board._map)
    for cut in range(waiting.index(b"\n") + 1):
        board._map[:] = waiting[:cut] + running[cut:]
        assert BoardFile.read(path) in (Board(), WAITING, GOES_ON, RUNNING)


def test_a_board_may_be_read_while_it_is_written(path):
    code = f"""
from lablib.record.board import Board, BoardFile
board = BoardFile({path!r})
while True:
    board.write({WAITING})
    board.running()
    board.write({RUNNING})
"""
    whole = [WAITING, GOES_ON, RUNNING]
    with subprocess.Popen([sys.executable, "-c", code]) as writer:
        try:
            while not BoardFile.read(path).state:
                assert writer.poll() is None
            seen = [BoardFile.read(path) for _ in range(20_000)]
        finally:
            writer.kill()
    assert all(state in whole or state == Board() for state in seen)
    assert WAITING in seen and RUNNING in seen


def test_what_no_rank_wrote_is_no_state(path):
    for text in (b"", b"\n", b"+", b"{}", b"+00000000", b"\xff" * 4096):
        with open(path, "wb") as file:
            file.write(text)
        assert BoardFile.read(path) == Board()

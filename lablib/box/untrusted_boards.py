"""The boards of ranks that may write anything on them."""

from __future__ import annotations

import re

from lablib.record.board import Board

_STATES = ("running", "waiting", "returned")
_PLACE = re.compile(r".{0,200}:[0-9]{1,9}", re.DOTALL)


def read(path: str) -> dict:
    """As `Board.read`; {} for what a rank's recorder cannot have written.

    >>> is_plain({"state": "waiting", "name": "recv", "group": "all"})
    False
    """
    try:
        board = Board.read(path)
    except (RecursionError, TypeError):
        return {}
    return board if is_plain(board) else {}


def is_plain(board: object) -> bool:
    """Whether it has the form of a board."""
    if not isinstance(board, dict) or board.get("state") not in _STATES:
        return False
    line = board.get("line", "")
    # What it waited for last stays there, and is compared with what others wait for.
    kinds = ("name", str), ("channel", str), ("order", int)
    plain = all(type(board.get(key, kind())) is kind for key, kind in kinds)
    return plain and _is_place(line) and (board["state"] != "waiting" or _waits_for(board))


def _waits_for(board):
    name, group = board.get("name"), board.get("group")
    return (
        isinstance(name, str)
        and len(name) <= 60
        and isinstance(group, list)
        and len(group) >= (2 if name in ("send", "recv") else 1)
        and all(type(rank) is int for rank in group)
        and isinstance(board.get("channel"), str)
        and type(board.get("order")) is int
    )


def _is_place(line):
    return line in ("", None) or (isinstance(line, str) and bool(_PLACE.fullmatch(line)))

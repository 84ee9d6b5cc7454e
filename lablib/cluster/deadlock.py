"""Who waits for whom, and whether anybody can ever go on. Pure: boards in, answers out.

How many messages a rank has issued on a channel is asked for separately, with a function
(rank, channel) -> number, because a rank may use many thousands of channels and only few of them
matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lablib.record.board import Board

_SUSPECT_S = 0.5

Issued = Callable[[int, str], float]


def deadlock(boards: Sequence[Board], issued: Issued) -> bool:
    """Return True if no rank can ever go on: each waits for a message that nobody will issue.

    >>> a = Board("waiting", name="recv", group=(1, 0), channel="1>0", order=1)
    >>> b = Board("waiting", name="recv", group=(0, 1), channel="0>1", order=1)
    >>> counts = {(0, "1>0"): 1, (1, "0>1"): 1}
    >>> deadlock([a, b], lambda rank, channel: counts.get((rank, channel), 0))
    True
    """
    states = [board.state for board in boards]
    if "waiting" not in states or set(states) - {"waiting", "returned"}:
        return False
    return all(missing(b, boards, issued) for b in boards if b.state == "waiting")


def missing(board: Board, boards: Sequence[Board], issued: Issued) -> list[int]:
    """Return the ranks that have not issued the message this board waits for, or another one."""
    peers = [rank for rank in board.group if 0 <= rank < len(boards)]
    return [rank for rank in peers if _differs(rank, boards[rank], board, issued)]


class Suspicion:
    """Holds when the same boards have shown a deadlock all the time for `_SUSPECT_S`.

    Boards are read one after the other: a rank may have gone on between two of them, so that what
    they show together never was. Boards that are the same at a later look all stood so at once.
    """

    def __init__(self):
        self._boards: Sequence[Board] | None = None
        self._since_s = 0.0

    def holds(self, boards: Sequence[Board], issued: Issued, now_s: float) -> bool:
        """What to think of the boards read now; to be asked at every look."""
        shown = boards if deadlock(boards, issued) else None
        if shown is None or shown != self._boards:
            self._boards, self._since_s = shown, now_s
        return shown is not None and now_s - self._since_s > _SUSPECT_S


def _differs(rank, peer, board, issued):
    if issued(rank, board.channel) < board.order:
        return True
    same = (peer.channel, peer.order) == (board.channel, board.order)
    pair = {peer.name, board.name} <= {"send", "recv"}
    return same and not pair and peer.name != board.name

"""Find out from the boards which ranks wait for which, and whether any rank can continue.

The number of messages that a rank has issued on a channel comes from a separate function (rank,
channel) -> number, because a rank may use many thousands of channels and only a few of them matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lablib.record.board import Board

_SUSPECT_S = 0.5

Issued = Callable[[int, str], float]


def deadlock(boards: Sequence[Board], issued: Issued) -> bool:
    """Return True if no rank can continue: each waits for a message that no rank will issue.

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
    """Return the ranks that have not issued the message for which this board's rank waits."""
    peers = [rank for rank in board.group if 0 <= rank < len(boards)]
    return [rank for rank in peers if _differs(rank, boards[rank], board, issued)]


class Suspicion:
    """True if the boards have shown the same deadlock for `_SUSPECT_S` without interruption.

    Boards are read one after the other. A rank may continue between two of these reads, so the
    boards may show states that never existed at the same time. But if the boards are unchanged at a
    later look, these states did exist at the same time.
    """

    def __init__(self):
        self._boards: Sequence[Board] | None = None
        self._since_s = 0.0

    def holds(self, boards: Sequence[Board], issued: Issued, now_s: float) -> bool:
        """Return True if it is a deadlock, given the boards read now. Call it at every look."""
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

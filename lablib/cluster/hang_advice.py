"""Advice for ranks that hang. It depends on what each rank waits for."""

from __future__ import annotations

from collections.abc import Sequence

from lablib.cluster.deadlock import Issued, missing
from lablib.record.board import Board

_RECEIVE = (
    "every rank is waiting to receive: let one rank send first, or use isend and irecv; if a rank "
    "has already sent, use the same tag and group on both sides"
)
_SEND = "every rank is waiting to send: let one rank receive first, or use isend and irecv"
_PAIR = (
    "write one recv for each send: the sender names the receiver, the receiver names the sender, "
    "and both use the same tag, group and order"
)
_COLLECTIVES = "every rank of a group must make the same calls in the same order"
_NEW_GROUP = (
    "every rank of the cluster must call new_group, in the same order, also the ranks that are not "
    "in the new group; or pass use_local_synchronization=True, then only its members call it"
)


def explain(boards: Sequence[Board], issued: Issued, timeout_s: float) -> tuple[str, str]:
    """Return what is wrong and what the learner can do about it.

    timeout_s   the time limit that has passed; 0 if the ranks are in a deadlock
    """
    if timeout_s:
        return f"The ranks did not finish within {timeout_s:g} s.", advice(boards, issued)
    return "The ranks wait for one another, so none of them can continue.", advice(boards, issued)


def advice(boards: Sequence[Board], issued: Issued) -> str:
    """Return the advice that fits these boards."""
    waiting = {n: board for n, board in enumerate(boards) if board.state == "waiting"}
    absent = {n: missing(board, boards, issued) for n, board in waiting.items()}
    pairs = [(n, peer) for n, peers in absent.items() for peer in peers if peer != n]
    # A rank that has not called anything of the kit yet has not written a state.
    for states, text in ((("returned",), _after_its_end), (("running", ""), _while_it_works)):
        found = next((pair for pair in pairs if boards[pair[1]].state in states), None)
        if found:
            return text(boards[found[0]].name, *found)
    if not waiting:
        return _no_message(boards)
    return _of_calls({board.name for board in waiting.values()}, waiting)


def _of_calls(names, waiting):
    if "new_group" in names:
        return _NEW_GROUP
    if names == {"recv"}:
        return _RECEIVE
    if names == {"send"}:
        return _SEND
    if names == {"send", "recv"}:
        return _PAIR
    if names & {"send", "recv"}:
        direct = next(n for n, board in waiting.items() if board.name in ("send", "recv"))
        other = next(n for n, board in waiting.items() if board.name not in ("send", "recv"))
        return (
            f"rank {direct} waits in {waiting[direct].name} while rank {other} waits in "
            f"{waiting[other].name}: let both sides of the {waiting[direct].name} run before "
            f"either calls {waiting[other].name}"
        )
    return _COLLECTIVES


def _after_its_end(name, waits, ended):
    if name == "recv":
        return f"rank {ended} has ended, but rank {waits} still waits for it: {_PAIR}"
    if name == "send":
        return (
            f"rank {ended} has ended, but rank {waits} still waits for it to receive: let rank "
            f"{ended} call recv, or remove that send"
        )
    rule = _NEW_GROUP if name == "new_group" else _COLLECTIVES
    return f"rank {ended} has ended, but rank {waits} still waits for it in {name}: {rule}"


def _while_it_works(name, waits, works):
    return (
        f"rank {waits} waits in {name} for rank {works}, which has not reached that call yet: "
        f"find out what rank {works} is doing"
    )


def _no_message(boards):
    if all(board.state == "returned" for board in boards):
        return "find out what prevents the ranks from ending, such as a thread or a child process"
    return (
        "look at the lines above: one of these ranks is in a long loop, or waits for something "
        "other than a message"
    )

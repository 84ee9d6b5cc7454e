"""A rank in namespaces of its own, so that it can reach the others through the relay only.

Three processes: the one that the set knows as the rank; the first of the new process namespace;
and the rank itself, which is not that first one, whom the system spares most signals.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from lablib.box import namespaces
from lablib.box.limits import Limits
from lablib.cluster.engine.messages import RankJob

_SIGNALLED = 128


def become_rank(
    job: RankJob, live: Callable[[], None], limits: Limits, leash: socket.socket
) -> None:
    """Call `live` in a grandchild that shares nothing with other ranks; then end as it ended.

    The keeper, at the other end of `leash`, gets the folders in memory that the rank may fill.
    """
    namespaces.be_readable()  # else its own maps of users belong to root
    namespaces.unshare_with_a_user()
    first = os.fork()
    if first == 0:
        _be_first(job, live, limits, leash)
    leash.close()
    code = _ended(first)
    if code > _SIGNALLED:
        os.kill(os.getpid(), code - _SIGNALLED)
    os._exit(code)


def _be_first(job, live, limits, leash):
    try:
        share = job.ranks
        namespaces.furnish(limits.scratch_bytes // share, limits.shared_bytes // share)
        folders = namespaces.furnished()
        socket.send_fds(leash, [b"+"], folders)  # one byte: several ranks write at once
        namespaces.close_each([leash.detach(), *folders])
        _forget_the_log()
        namespaces.cover()
        namespaces.forbid_more_namespaces()
        namespaces.drop_capabilities()  # stays readable: it has nothing that the rank has not
        job.parent = os.getpid()
        rank = os.fork()
        if rank == 0:
            live()
        code = _ended(rank)
        os._exit(code if code >= 0 else _SIGNALLED - code)
    finally:
        os._exit(70)


def _forget_the_log():
    """Standard output is still the keeper's log, a file outside, which the rank could take over."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _ended(pid):
    """Return the child's exit status; while it runs, forward status requests to it."""
    signal.signal(signal.SIGUSR1, lambda number, _: os.kill(pid, number))
    _, status = os.waitpid(pid, 0)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    return os.waitstatus_to_exitcode(status)

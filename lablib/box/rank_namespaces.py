"""Put a rank into its own namespaces, so that it can reach other ranks only through the relay.

There are three processes: the one that the set knows as the rank; the first process of the new
process namespace; and the rank itself. The rank is not that first process, because the system does
not deliver most signals to it.
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
    namespaces.be_readable()  # otherwise its own files in /proc belong to root
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
        # One byte, because several ranks write at the same time.
        socket.send_fds(leash, [b"+"], folders)
        namespaces.close_each([leash.detach(), *folders])
        _forget_the_log()
        namespaces.cover()
        namespaces.forbid_more_namespaces()
        # It stays readable: it has nothing that the rank does not have.
        namespaces.drop_capabilities()
        job.parent = os.getpid()
        rank = os.fork()
        if rank == 0:
            live()
        code = _ended(rank)
        os._exit(code if code >= 0 else _SIGNALLED - code)
    finally:
        os._exit(70)


def _forget_the_log():
    """Close the keeper's log, which is still standard output: the rank could take it over."""
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

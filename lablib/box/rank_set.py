"""The first process of one rank set in the box, and the ranks that it forks.

The keeper forks it after importing the framework, into separate namespaces. When this process ends,
all processes that ranks have left behind end, too; the keeper ends it. It does not run the
learner's code.
"""

from __future__ import annotations

import os
import socket
from functools import partial

from lablib.box import limit_probes, namespaces, rank_namespaces, system_calls
from lablib.box.limits import Limits, keep_to
from lablib.cluster.engine import wire
from lablib.cluster.local.zygote import Zygote, live
from lablib.computer.orphans import adopt_orphans
from lablib.frameworks.framework import Framework

_FILES = ("board", "log", "stack")
# So that the keeper still gets processor time beside a hundred busy processes, and can end them.
_NICE = 5
NO_FRAMEWORK = "none"  # for a set that only tests whether its limits hold


def start(
    framework: Framework | None, channel: socket.socket, leash: socket.socket, limits: Limits
) -> int:
    """Fork the first process of a set that serves `channel`; return its process number.

    The set ends when the other end of `leash` is closed.
    """
    told, tells = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            os.close(told)
            _begin(framework, channel, leash, limits, tells)
        finally:
            os._exit(1)
    os.close(tells)
    with open(told, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(between, 0)
    if not answer.isdigit():
        raise OSError(answer or "the process in between ended without a message")
    return int(answer)


def _begin(framework, channel, leash, limits, tells):
    """Fork the set's first process, in a new process namespace.

    Only a child of the process that made the namespace can be the first process in it.
    """
    namespaces.close_all_but([channel.fileno(), leash.fileno(), tells])
    try:
        namespaces.unshare_with_a_user()
        pid = os.fork()
    except OSError as error:
        os.write(tells, str(error).encode())
        return
    if pid:
        os.write(tells, str(pid).encode())
        os._exit(0)
    os.close(tells)
    _serve(framework, channel, leash, limits)


def _serve(framework, channel, leash, limits):
    try:
        namespaces.furnish(limits.scratch_bytes, limits.shared_bytes)
        folders = namespaces.furnished()
        keep_to(limits)
        if not limits.apart:  # otherwise each rank makes its own namespaces, with its own /proc
            namespaces.cover()
            namespaces.forbid_more_namespaces()
        namespaces.drop_capabilities()
        system_calls.refuse(locks=limits.apart)
        namespaces.be_unreadable()
        adopt_orphans()
        os.nice(_NICE)
        wire.send(leash, {"furnished": True}, tuple(folders))
        namespaces.close_each(folders)
        if framework is None:
            wire.send(channel, {"held": limit_probes.held(limits)})
        else:
            _serve_ranks(framework, channel, leash, limits)
    except OSError as error:
        wire.send(leash, {"failed": str(error)})
    finally:
        os._exit(0)


def _serve_ranks(framework, channel, leash, limits):
    """Run as a zygote that serves one run, and is alone on its network.

    The keeper sends nothing on the leash; it only closes it.
    """
    zygote = Zygote(framework, "fork", leash)
    zygote.isolated = True
    # A rank closes the zygote's end of the leash, but needs one until it has sent its folders.
    zygote.become = partial(_become_rank, limits=limits, leash=leash.dup())
    zygote.open_run(channel)
    zygote.serve()


def _become_rank(job, fds, limits, leash):
    """Replace the paths in the job by the files that were passed on, then run as a rank."""
    _, payload, *files = [f"/proc/self/fd/{fd}" for fd in fds]
    job.payload = payload
    job.files = dict(zip(_FILES, files), traceback=os.devnull)
    kept = [*fds, job.listening or 0]
    if limits.apart:
        job.relay = fds[2 + len(_FILES)]
        namespaces.close_all_but([*kept, leash.fileno()])
        rank_namespaces.become_rank(job, lambda: _live(job, fds), limits, leash)
    namespaces.close_all_but(kept)
    _live(job, fds)


def _live(job, fds):
    namespaces.be_readable()
    live(job, fds)

"""A small process that ends its parent when the notebook's kernel dies.

While a zygote imports a framework, it runs C++ code for seconds and cannot check anything. A thread
would not help, because the import holds the interpreter. Linux's own death signal would not help
either, because it is sent when the *thread* ends that started the process. So a child process
watches during the import. It ends before the first rank is forked.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def ends_with(kernel: int, folder: str) -> Iterator[None]:
    """Inside this context, this process is killed as soon as process `kernel` has ended.

    folder   this folder is then removed, because the killed process cannot do it

    Does nothing if processes cannot be watched (only Linux has pidfd_open).
    """
    if not hasattr(os, "pidfd_open"):
        yield
        return
    own, watched = os.pidfd_open(os.getpid()), _opened(kernel)
    if watched is None:
        raise SystemExit("the kernel has ended already")
    watcher = os.fork()
    if watcher == 0:
        _watch(own, watched, folder)
    os.close(own), os.close(watched)
    try:
        yield
    finally:
        os.kill(watcher, signal.SIGKILL)
        os.waitpid(watcher, 0)


def _opened(kernel):
    try:
        return os.pidfd_open(kernel) if os.getppid() == kernel else None
    except ProcessLookupError:
        return None


def _watch(own, watched, folder):
    """Wait until the kernel or the parent ends. Never returns."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _close_all_but(own, watched)  # the kernel must notice when the parent closes its socket
        ended, _, _ = select.select([own, watched], [], [])
        if watched in ended and own not in ended:
            signal.pidfd_send_signal(own, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os._exit(0)


def _close_all_but(*kept):
    for number in map(int, os.listdir("/proc/self/fd")):
        if number not in (0, 1, 2, *kept):
            with contextlib.suppress(OSError):  # the descriptor of the listing itself
                os.close(number)

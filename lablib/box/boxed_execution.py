"""One run of a function on ranks in the box, seen from the grader.

Everything that comes from a rank may be forged. It is read, bounded, and never looked up: a file
name in a traceback is shown, not opened.
"""

from __future__ import annotations

import fcntl
import os

from lablib.box import run_ending
from lablib.box.limits import Limits
from lablib.box.namespaces import TEMPORARY
from lablib.box.rank_output import Printed
from lablib.box.relay import Relay
from lablib.box.run_ending import Ended
from lablib.cluster import hang_advice
from lablib.cluster.engine import wire
from lablib.cluster.local.execution import Execution
from lablib.cluster.spec import Spec
from lablib.record.board import BoardFile

_MOST_ELEMENTS = 4_000_000
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_KEPT_STACK_BYTES = 1 << 14


class BoxedExecution(Execution):
    """As `Execution`, on ranks in the box. `seen` is what the keeper saw of them."""

    def __init__(self, spec: Spec, function, limits: Limits, zygote, own=None, hardware=None):
        super().__init__(
            spec, function, hardware, timeout_s=limits.timeout_s, echo=False, watch=_Unseen(),
            own=own, zygote=zygote,
        )  # fmt: skip
        self.limits, self.seen, self.ended = limits, {}, False
        self.bounds = wire.Bounds(limits.answer_bytes, _MOST_ELEMENTS, plain_keys=True)
        self.printed = Printed(range(spec.ranks), limits.kept_bytes)
        self.stacks = Printed(range(spec.ranks), _KEPT_STACK_BYTES)
        self.boards = [_file_in_memory(BoardFile.SIZE) for _ in range(spec.ranks)]
        self.relay = Relay(spec.ranks) if limits.apart else None
        self.functions = _opened_apart(self.payload, spec.ranks)

    def run(self) -> None:
        """Run to the end. Raises Ended; leaves no process."""
        try:
            super().run()
        except (OSError, EOFError):
            raise self._zygote_died() from None
        if self.seen.get("why"):
            raise run_ending.all_at_once(self.seen)
        self._check_relay()

    def _check_relay(self):
        if self.relay and self.relay.forged:
            raise Ended("forged", f"rank {min(self.relay.forged)} sent the relay no message")

    def logs(self) -> list[str]:
        """The end of what each rank printed."""
        return [self.printed.text(rank) for rank in range(self.spec.ranks)]

    def forget(self) -> None:
        super().forget()
        self.printed.close()
        self.stacks.close()
        if self.relay:
            self.relay.close()
        for descriptor in (*self.functions, *self.boards):
            os.close(descriptor)

    def _handed_to(self, seat):
        pipes = self.printed.writing[seat.rank], self.stacks.writing[seat.rank]
        line = (self.relay.theirs[seat.rank].fileno(),) if self.relay else ()
        return self.functions[seat.rank], self.boards[seat.rank], *pipes, *line

    def _left_function(self):
        return ""  # it is handed over

    def _job(self):
        return super()._job() | {"cwd": TEMPORARY, "path": self.zygote.path, "sources": {}}

    def _own(self, seat, ports):
        own = super()._own(seat, ports)
        own["env"]["TMPDIR"] = TEMPORARY
        return own | {"files": {}}

    def _board_paths(self):
        return [f"/proc/self/fd/{descriptor}" for descriptor in self.boards]

    def _stacks(self):
        return [self.stacks.text(rank) for rank in range(self.spec.ranks)]

    def _told_where(self):
        return all(self._stacks())

    def _look(self, give_up_s):
        if self.printed.most_bytes > self.limits.printed_bytes:
            self._close()
            most = self.limits.printed_bytes
            raise Ended("output", f"a rank printed more than {most} bytes")
        super()._look(give_up_s)

    def _fail(self, selector):
        self._hear_the_others(selector)
        shown = self._boards()
        self._close()
        if self.seen.get("why"):
            raise run_ending.all_at_once(self.seen)
        self._check_relay()
        raise run_ending.failed(self.fates, shown, self.seen, self.limits.cpu_s)

    def _hang(self, shown, timed_out):
        self._ask_for_stacks()
        why, _ = hang_advice.explain(shown, self._issued, timed_out and self.timeout_s)
        self._close()
        raise run_ending.hangs(shown, self._stacks(), why, timed_out, self.seen)

    def _zygote_died(self):
        self._close()
        return run_ending.all_at_once(self.seen)

    def _close(self):
        if not self.ended:
            self.ended = True
            try:
                self.seen = self.zygote.end_run()
            finally:
                self.channel.close()
                for reader in self.readers.values():
                    reader.sock.close()


class _Unseen:
    """A watch that shows nothing."""

    def __call__(self, boards):
        pass

    def close(self):
        pass


def _opened_apart(content, times):
    """Descriptors of one file that nobody can change. Where one of them stands in it, no other
    tells."""
    whole = _file_in_memory(len(content), content, fcntl.F_SEAL_WRITE)
    try:
        return [os.open(f"/proc/self/fd/{whole}", os.O_RDONLY) for _ in range(times)]
    finally:
        os.close(whole)


def _file_in_memory(size, content=b"", seals=0):
    """The descriptor of a file that keeps its size, in no folder. Zeros cost no memory."""
    descriptor = os.memfd_create("box", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
        file.truncate(size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS | seals)
    return descriptor

"""How a strategy's step should come out, by closed form; and whether a run did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lablib.cluster.run import Run
from lablib.record import metrics
from lablib.units import show_bytes

WITHIN = 0.1


@dataclass(frozen=True)
class Expected:
    """What one step shows once it is warm.

    messages    name -> (calls, payload bytes), of all ranks together
    live_bytes  tensors that the fullest rank holds at most; None where no closed form is known
    """

    messages: Mapping[str, tuple[int, int]]
    live_bytes: float | None = None

    def complaints(self, run: Run) -> list[str]:
        """What differs from it in the last step of a run. Bytes of memory may, by a tenth; in a
        measured run nobody counts them."""
        seen = metrics.step_messages(run.trace)
        found = [
            f"{name}: {_told(seen.get(name))}, not {_told(self.messages.get(name))}"
            for name in sorted(seen.keys() | self.messages.keys())
            if seen.get(name) != self.messages.get(name)
        ]
        if run.hardware:
            found += self.memory_complaints(run.metrics.live_bytes.max())
        return found

    def memory_complaints(self, held: float) -> list[str]:
        """What is wrong with the bytes that the fullest rank held at most; a tenth is not."""
        if self.live_bytes is None or abs(held - self.live_bytes) <= WITHIN * self.live_bytes:
            return []
        return [f"memory: {show_bytes(held)}, not {show_bytes(self.live_bytes)}"]


def _told(calls):
    return f"{calls[0]} calls of {calls[1]} bytes" if calls else "none"

"""Compute by closed form what steps of a strategy send and hold, and compare a run with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lablib.cluster.run import Run
from lablib.record import metrics
from lablib.record.wire_bytes import wire_bytes
from lablib.units import show_bytes

WITHIN = 0.1


@dataclass(frozen=True)
class Expected:
    """What one step, or a few steps together, send and hold after the warm-up.

    messages    {name: (calls, payload bytes)}, of all ranks together
    wire_bytes  bytes that the link of the busiest rank carries (`record.wire_bytes`)
    live_bytes  the most bytes of tensors on the fullest rank in the median step, as in
                `run.metrics`; None if no closed form is known
    every       the number of steps with these messages: 1, or more if some steps send nothing
    """

    messages: Mapping[str, tuple[int, int]]
    wire_bytes: float
    live_bytes: float | None = None
    every: int = 1

    def complaints(self, run: Run) -> list[str]:
        """Return a sentence for each difference between this and the last `every` steps of a run.

        The run must have a multiple of `every` steps. Memory may differ by a tenth. It is not
        compared for measured runs, which do not record it.
        """
        steps = len(metrics.step_s(run.trace, rank=0))
        if steps % self.every:
            return [f"steps: {steps}, not a multiple of {self.every}"]
        seen = metrics.step_messages(run.trace, self.every)
        found = [
            f"{name}: {_calls(seen.get(name))}, not {_calls(self.messages.get(name))}"
            for name in sorted(seen.keys() | self.messages.keys())
            if seen.get(name) != self.messages.get(name)
        ]
        found += self.wire_complaints(metrics.last_steps_wire_bytes(run.trace, self.every))
        if run.hardware:
            found += self.memory_complaints(run.metrics.live_bytes.max())
        return found

    def wire_complaints(self, carried: float) -> list[str]:
        """Return what is wrong with the bytes that the busiest rank's link carried."""
        if math.isclose(carried, self.wire_bytes, rel_tol=1e-9):
            return []
        return [f"wire: {carried:.0f} bytes on the busiest rank, not {self.wire_bytes:.0f}"]

    def memory_complaints(self, held: float) -> list[str]:
        """Return what is wrong with the fullest rank's bytes; it may differ by a tenth."""
        if self.live_bytes is None or abs(held - self.live_bytes) <= WITHIN * self.live_bytes:
            return []
        return [f"memory: {show_bytes(held)}, not {show_bytes(self.live_bytes)}"]


def wire_bytes_of_collectives(messages: Mapping[str, tuple[int, int]], ranks: int) -> float:
    """Return each rank's wire bytes of collectives to which all ranks pass equal payloads.

    messages   as in `Expected`

    >>> wire_bytes_of_collectives({"all_reduce": (4, 4000)}, ranks=4)
    1500.0
    """
    return sum(wire_bytes(name, nbytes / ranks, ranks) for name, (_, nbytes) in messages.items())


def _calls(calls):
    return f"{calls[0]} calls of {calls[1]} bytes" if calls else "none"

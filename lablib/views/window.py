"""The part of a trace that a figure shows: the whole run, or some of its training steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lablib.errors import LabError
from lablib.record.event import Event
from lablib.record.trace import Trace


class Window(NamedTuple):
    """A part of the trace's time, and the unit in which an axis shows it."""

    start_s: float
    end_s: float
    scale: float  # units of the axis in a second
    unit: str

    @property
    def width(self) -> float:
        return self.at(self.end_s)

    def shows(self, event: Event) -> bool:
        """Return whether a part of the event is within; touching an edge does not count."""
        if event.start_s == event.end_s:
            return self.start_s <= event.start_s <= self.end_s
        return event.end_s > self.start_s and event.start_s < self.end_s

    def at(self, time_s: float) -> float:
        """Return the place of a moment on the axis; moments outside are at its edge."""
        return self.scale * (min(max(time_s, self.start_s), self.end_s) - self.start_s)


def window(trace: Trace, steps: int | range | None = None) -> Window:
    """Return the window from the first start to the last end of these steps; None: the whole run.

    Raises LabError if the trace has no events or does not have these steps.
    """
    if not len(trace):
        raise LabError(
            "There is nothing to draw: the trace has no events.",
            saw=repr(trace),
            do="draw the trace of a run whose ranks sent messages or marked steps",
        )
    events = trace if steps is None else _of_steps(trace, steps)
    start_s = min(e.start_s for e in events)
    end_s = max(e.end_s for e in events)
    # A trace of one mark has no length, but an axis must.
    end_s = max(end_s, start_s + 1e-6)
    return Window(start_s, end_s, *axis_of_seconds(end_s - start_s))


def axis_of_seconds(longest_s: float) -> tuple[float, str]:
    """Return a suitable unit for an axis up to `longest_s`: units in a second, and its name.

    >>> axis_of_seconds(0.5)
    (1000.0, 'ms')
    """
    if longest_s < 2e-3:
        return 1e6, "us"
    return (1e3, "ms") if longest_s < 2 else (1.0, "s")


def step_count(trace: Trace) -> int:
    """Return the largest number of steps on any rank."""
    return max((len(part) for part in trace.of(kind="step").by_rank().values()), default=0)


def only(trace: Trace, steps: int | range | None) -> Iterator[str]:
    """Yield what a title must say if only some steps are shown: "steps 2 to 4 of 20"."""
    if steps is not None:
        chosen = _chosen(steps)
        span = f"step {chosen[0]}" if len(chosen) == 1 else f"steps {chosen[0]} to {chosen[-1]}"
        yield f"{span} of {step_count(trace)}"


def _of_steps(trace, steps):
    parts = trace.of(kind="step").by_rank().values()
    events = [
        part[number] for part in parts for number in _chosen(steps) if 0 <= number < len(part)
    ]
    if not events:
        raise LabError(
            "The trace does not have these steps.",
            saw=f"steps={steps}; the ranks have up to {step_count(trace)} steps",
            do="give a step from 0, or a range such as range(2, 4)",
        )
    return events


def _chosen(steps):
    return steps if isinstance(steps, range) else range(steps, steps + 1)

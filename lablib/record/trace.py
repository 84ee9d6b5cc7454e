"""A run's trace: the events of all ranks on one clock."""

from __future__ import annotations

import html
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

from lablib.errors import LabError
from lablib.record import perfetto, trace_file
from lablib.record.event import CLOCKS, Event
from lablib.units import show_bytes, show_s

__all__ = ["Event", "Trace"]


class Trace(Sequence[Event]):
    """Events sorted by (start_s, rank); never changed after creation.

    clock    "measured": the times were measured; "modelled": they were calculated;
             "modelled, dry": they were calculated for a run whose tensors had no values
    ranks    the number of ranks of the run, with or without events here; None: up to the highest
             rank with an event

    A slice is a Trace; two traces with equal events, clocks and ranks are equal.
    Raises LabError for another clock, or if an event belongs to a rank beyond `ranks`.

    >>> trace = Trace([Event(1, "step", "step", 0.0, 2.0), Event(0, "step", "step", 0.0, 1.0)])
    >>> trace
    Trace(2 events, 2 ranks, 2 s, measured)
    >>> trace[0].rank
    0
    """

    __slots__ = ("_clock", "_events", "_ranks")

    def __init__(
        self, events: Iterable[Event] = (), clock: str = "measured", ranks: int | None = None
    ):
        if clock not in CLOCKS:
            raise LabError(
                "There is no such clock.", saw=repr(clock), do=f"choose {' or '.join(CLOCKS)}"
            )
        self._clock = clock
        self._events = tuple(sorted(events, key=lambda event: (event.start_s, event.rank)))
        seen = max((event.rank for event in self._events), default=-1) + 1
        self._ranks = seen if ranks is None else ranks
        if seen > self._ranks:
            raise LabError(
                "An event belongs to a rank that the run did not have.",
                saw=f"rank {seen - 1} of {self._ranks}",
                do=f"pass ranks={seen}, or omit it",
            )

    @property
    def clock(self) -> str:
        """Return whether its times were "measured", "modelled" or "modelled, dry"."""
        return self._clock

    @property
    def ranks(self) -> int:
        """Return the number of ranks of the run."""
        return self._ranks

    @property
    def duration_s(self) -> float:
        """Return the seconds from the first start to the last end; 0 without events."""
        if not self._events:
            return 0.0
        return max(event.end_s for event in self._events) - self._events[0].start_s

    def of(
        self, rank: int | None = None, kind: str | None = None, name: str | None = None
    ) -> Trace:
        """Return the events of this rank, kind and name; None means any.

        >>> Trace([Event(1, "step", "step 0", 0.0, 2.0)]).of(rank=1, kind="step")
        Trace(1 event, 2 ranks, 2 s, measured)
        """
        return self._with(
            event
            for event in self._events
            if rank in (None, event.rank)
            and kind in (None, event.kind)
            and name in (None, event.name)
        )

    def by_rank(self) -> dict[int, Trace]:
        """Return the events of each rank that has any, in the order of the ranks."""
        shares = defaultdict(list)
        for event in self._events:
            shares[event.rank].append(event)
        return {rank: self._with(shares[rank]) for rank in sorted(shares)}

    @classmethod
    def merge(cls, traces: Iterable[Trace]) -> Trace:
        """Return one trace with the events of all; raise LabError if their clocks differ."""
        traces = list(traces)
        clocks = sorted({trace.clock for trace in traces})
        if len(clocks) > 1:
            raise LabError(
                "Traces with different clocks cannot be merged.",
                saw=" and ".join(clocks),
                do="merge measured traces only with measured ones, and modelled only with modelled",
            )
        ranks = max((trace.ranks for trace in traces), default=0)
        return cls((event for trace in traces for event in trace), *clocks, ranks=ranks)

    def save(self, path: str | os.PathLike) -> Path:
        """Write it as JSON, completely or not at all; compressed if `path` ends in .gz.

        Returns the path. Raises LabError if the file cannot be written.
        """
        return trace_file.save(self._events, self._clock, self._ranks, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Trace:
        """Read a file that `save` wrote; raise LabError with the path and what is wrong."""
        return cls(*trace_file.load(path))

    def export(self, path: str | os.PathLike) -> Path:
        """Write it for ui.perfetto.dev and chrome://tracing; compressed if `path` ends in .gz.

        Arrows lead from each send to its recv. If the recv came first, a part named "transfer"
        begins at the moment of the send.

        Returns the path. Raises LabError if the file cannot be written.
        """
        return trace_file.write_compressed(path, perfetto.text(self._events, self._clock))

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Trace: ...
    def __getitem__(self, index):
        chosen = self._events[index]
        return self._with(chosen) if isinstance(index, slice) else chosen

    def _with(self, events):
        return Trace(events, self._clock, self._ranks)

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trace):
            return NotImplemented
        return self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    @property
    def _parts(self):
        return self._events, self._clock, self._ranks

    def __repr__(self) -> str:
        events = _count(len(self), "event")
        ranks = _count(self.ranks, "rank")
        return f"Trace({events}, {ranks}, {show_s(self.duration_s)}, {self._clock})"

    def _repr_html_(self) -> str:
        counts = defaultdict(lambda: [0, 0])
        for event in self._events:
            # Every step has its own name; a row for each would not help.
            count = counts[event.kind, "" if event.kind == "step" else event.name]
            count[0] += 1
            count[1] += event.nbytes
        shown = sorted(counts.items())[:_MOST_ROWS]
        rows = [(kind, name, n, show_bytes(size)) for (kind, name), (n, size) in shown]
        if len(counts) > _MOST_ROWS:
            rows.append((f"and {len(counts) - _MOST_ROWS} more", "", "", ""))
        return _html_table(repr(self), ("kind", "name", "events", "payload"), rows)


_MOST_ROWS = 20


def _count(number, noun):
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _html_table(caption, head, rows):
    def line(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(c))}</{tag}>" for c in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    caption = f'<caption style="white-space: nowrap">{html.escape(caption)}</caption>'
    return f"<table>{caption}{line(head, 'th')}{body}</table>"

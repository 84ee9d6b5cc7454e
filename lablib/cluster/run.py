"""One execution of a function on all ranks: its values, trace, metrics and logs."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from lablib.cluster import failures
from lablib.cluster.spec import Spec
from lablib.record import metrics, program

if TYPE_CHECKING:
    import pandas

    from lablib.record.trace import Trace


@dataclass(frozen=True, repr=False)
class Run:
    """What came back from the ranks.

    values    what the function returned, by rank; None for ranks that serve
    logs      what each rank printed; of a long log the last 1 MB
    records   what each rank wrote down; `program`, `trace`, `metrics` and `logged` read it
    clock     "measured" or "modelled"
    history   losses and weights of a training run, else None
    """

    spec: Spec
    values: list
    logs: list[str]
    records: list[dict] = field(default_factory=list)
    clock: str = "measured"
    history: object = None

    @cached_property
    def program(self) -> program.Program:
        """What every rank did, without times."""
        return program.program(record["rows"] for record in self.records)

    @cached_property
    def trace(self) -> Trace:
        """The events of all ranks on one clock; 0 is the first rank's first line."""
        rows = [record["rows"] for record in self.records]
        return program.trace(rows, place=failures.place, clock=self.clock)

    @property
    def logged(self) -> list[list[dict]]:
        """What each rank gave to `me.log`, in order; `at_s` is the rank's clock, in seconds."""
        return [record["logged"] for record in self.records]

    @cached_property
    def metrics(self) -> pandas.DataFrame:
        """One row a rank: what its trace says (`lablib.record.metrics.table`), and

        role, node   who it was
        cpu_s        processor seconds of its process
        peak_bytes   the most memory that was its alone, looked at when steps end and at the
                     end; what ranks share, such as the framework's code, is not counted
        and the last value of each name given to `me.log`
        """
        resources = {
            seat.rank: self._resources(seat, record)
            for seat, record in zip(self.spec.seats, self.records)
        }
        return metrics.table(self.trace, resources).set_index("rank")

    def _resources(self, seat, record):
        last = {name: value for logged in record["logged"] for name, value in logged.items()}
        last.pop("at_s", None)
        measured = {"cpu_s": record["cpu_s"], "peak_bytes": record["peak_bytes"]}
        return {"role": seat.role, "node": seat.node} | measured | last

    def __repr__(self):
        messages = len(self.trace.of(kind="message"))
        return (
            f"<Run of {self.spec.ranks} ranks, {self.spec.framework}: {messages} messages, "
            f"{self.trace.duration_s:.3g} s {self.clock}>"
        )

    def _repr_html_(self):
        text = html.escape(repr(self))
        return f"<p>{text}</p>{self.metrics.to_html(float_format='{:.4g}'.format)}"

"""One execution of a function on all ranks: its values, trace, metrics and logs."""

from __future__ import annotations

import html
import math
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import median_low
from typing import TYPE_CHECKING

from lablib.cluster.engine.messages import Record
from lablib.cluster.spec import Spec
from lablib.hardware import catalog
from lablib.hardware.hardware import Hardware
from lablib.record import metrics, program, simulator

if TYPE_CHECKING:
    import pandas

    from lablib.record.trace import Trace


@dataclass(frozen=True, repr=False)
class Run:
    """What came back from the ranks.

    values    what the function returned, by rank; None for ranks that serve
    logs      what each rank printed; of a long log the last 1 MB
    records   what each rank wrote down; `program`, `trace`, `metrics` and `logged` read it
    hardware  the machine that its times are of; None: this computer, measured
    history   losses and weights of a training run, else None
    caution   what makes its measured times doubtful; "" when nothing was seen
    """

    spec: Spec
    values: list
    logs: list[str]
    records: list[Record] = field(default_factory=list)
    hardware: Hardware | None = None
    history: object = None
    caution: str = ""

    @property
    def clock(self) -> str:
        """Whether its times were "measured" or "modelled"."""
        return "modelled" if self.hardware else "measured"

    @cached_property
    def program(self) -> program.Program:
        """What every rank did, without times."""
        rows = (record.rows for record in self.records)
        return program.program(rows)

    @cached_property
    def trace(self) -> Trace:
        """The events of all ranks on one clock; 0 is the first rank's first line.

        On modelled hardware one possible run where a rank received from anybody: see `doubt`.
        """
        if self.hardware:
            return simulator.simulate(self.program, self.hardware)
        return program.trace([record.rows for record in self.records])

    def on(self, hardware: str | os.PathLike | Hardware) -> Run:
        """The same program on another machine; no rank is started. LabError when it cannot be."""
        hardware = catalog.get(hardware)
        spec = self.spec.on(hardware.per_node)
        run = replace(self, hardware=hardware, spec=spec, caution="")
        run.__dict__["program"] = self.program  # read from the records once
        run.__dict__["trace"] = simulator.simulate(run.program, run.hardware)
        return run

    @property
    def doubt(self) -> str:
        """What keeps its trace from being the only possible one; "" when nothing does."""
        anybody = any(op.name == "recv" and op.group[0] < 0 for ops in self.program for op in ops)
        if not (self.hardware and anybody):
            return ""
        return "one possible run: who received from anybody was served the earliest arrival"

    @property
    def logged(self) -> list[list[dict]]:
        """What each rank gave to `me.log`, in order; `at_s` is the rank's clock, in seconds."""
        return [record.logged for record in self.records]

    @cached_property
    def metrics(self) -> pandas.DataFrame:
        """One row a rank: what its trace says (`lablib.record.metrics.table`), and

        role, node   who it was
        cpu_s        processor seconds of its process, measured whatever the clock
        peak_bytes   the most memory that was its alone, looked at when steps end and at the
                     end; what ranks share, such as the framework's code, is not counted.
                     Measured whatever the clock
        live_bytes   the most bytes of tensors that it held at once in a step: the (low) median of
                     the steps after the first, for a backend's thread may let go late in one of
                     them. NaN where they were not counted: in measured runs on the CPU. On a GPU,
                     torch counts them. Inside of a graph of TensorFlow they are computed, not
                     observed (`peak_memory.py`)
        and the last value of each name given to `me.log`
        """
        resources = {
            seat.rank: self._resources(seat, record)
            for seat, record in zip(self.spec.seats, self.records)
        }
        return metrics.table(self.trace, resources).set_index("rank")

    def _resources(self, seat, record):
        last = {name: value for logged in record.logged for name, value in logged.items()}
        last.pop("at_s", None)
        measured = {"cpu_s": record.cpu_s, "peak_bytes": record.peak_bytes}
        live = record.live_bytes
        measured["live_bytes"] = median_low(live[1:] or live or [math.nan])
        return {"role": seat.role, "node": seat.node} | measured | last

    def __repr__(self):
        messages = len(self.trace.of(kind="message"))
        return (
            f"<Run of {self.spec.ranks} ranks, {self.spec.framework}: {messages} messages, "
            f"{self.trace.duration_s:.3g} s {self._conditions}>"
        )

    @property
    def _conditions(self):
        on = f" on {self.hardware.name}" if self.hardware else ""
        doubts = (f", {doubt}" for doubt in (self.doubt, self.caution) if doubt)
        return f"{self.clock}{on}" + "".join(doubts)

    def _repr_html_(self):
        text = html.escape(repr(self))
        table = self.metrics.to_html(float_format="{:.4g}".format)
        return f'<p>{text}</p><div style="overflow-x: auto">{table}</div>'

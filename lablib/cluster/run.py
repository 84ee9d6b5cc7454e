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
from lablib.record import event, metrics, program, simulator

if TYPE_CHECKING:
    import pandas

    from lablib.record.trace import Trace


@dataclass(frozen=True, repr=False)
class Run:
    """The results of a run.

    values    the values that the function returned, by rank; None for ranks that serve
    logs      the output of each rank; the last 1 MB if it is long
    records   the record of each rank, from which `program`, `trace`, `metrics` and `logged` follow
    hardware  the modelled machine; None: times were measured on this computer
    history   losses and weights of a training run, else None
    dry       True: tensors had shapes but no values
    caution   why its measured times may be doubtful; "" if there is no reason
    """

    spec: Spec
    values: list
    logs: list[str]
    records: list[Record] = field(default_factory=list)
    hardware: Hardware | None = None
    history: object = None
    caution: str = ""
    dry: bool = False

    @property
    def clock(self) -> str:
        """Return whether its times were "measured", "modelled" or "modelled, dry"."""
        if self.dry:
            return event.DRY
        return "modelled" if self.hardware else "measured"

    @cached_property
    def program(self) -> program.Program:
        """Return what every rank did, without times."""
        rows = (record.rows for record in self.records)
        return program.program(rows)

    @cached_property
    def trace(self) -> Trace:
        """Return the events of all ranks on one clock; 0 is the first rank's first line.

        If a rank received from any rank on modelled hardware, this is one possible run: see
        `doubt`.
        """
        if self.hardware:
            return self._played(self.program)
        return program.trace([record.rows for record in self.records])

    def on(self, hardware: str | os.PathLike | Hardware) -> Run:
        """Replay the same program on another machine, without ranks; LabError if impossible."""
        hardware = catalog.get(hardware)
        spec = self.spec.on(hardware.per_node)
        run = replace(self, hardware=hardware, spec=spec, caution="")
        # Reuse the program, so that records are read only once.
        run.__dict__["program"] = self.program
        run.__dict__["trace"] = run._played(run.program)
        return run

    def _played(self, program):
        return simulator.simulate(program, self.hardware, self.clock)

    @property
    def doubt(self) -> str:
        """Return why its modelled times are not the only possible ones, or not valid; or ""."""
        return ", ".join(self._doubts()) if self.hardware else ""

    def _doubts(self):
        if uncosted := sorted({name for record in self.records for name in record.uncosted}):
            yield f"not valid: the cost of {'; '.join(uncosted)} is unknown and counts as 0"
        if any(op.name == "recv" and op.group[0] < 0 for ops in self.program for op in ops):
            yield "one possible run: a receive from any rank got the message that arrived first"

    @property
    def logged(self) -> list[list[dict]]:
        """Return the values that each rank gave to `me.log`, in order; `at_s` is its clock in s."""
        return [record.logged for record in self.records]

    @cached_property
    def metrics(self) -> pandas.DataFrame:
        """Return one row for each rank: its trace's metrics (`lablib.record.metrics.table`) and

        role, node   its role and its node
        cpu_s        processor seconds of its process, always measured
        peak_bytes   the most memory that only this rank used, observed at the end of steps and of
                     the run. Memory that ranks share, such as the framework's code, is not counted.
                     Always measured
        live_bytes   the most bytes of tensors that were alive at the same time in a step: the (low)
                     median of the steps after the first, because a thread of the backend may free
                     memory late in one of them. NaN in measured runs on the CPU, where they are not
                     counted. On a GPU, torch counts them. Inside a TensorFlow graph they are
                     calculated, not observed (`peak_memory.py`)
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

"""`what_if` replays one run on other machines, without starting any rank."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lablib.cluster.run import Run
from lablib.hardware.hardware import Hardware
from lablib.record import metrics

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class WhatIf:
    """One program on several machines; the first row is the original run.

    table   hardware, ranks, clock, run_s (the whole run), step_s (the slowest rank's median step
            after the first), samples_per_s (NaN if the batch is not known), comm_share
    runs    the Run of each row
    """

    table: pandas.DataFrame
    runs: list[Run]

    def plot(self) -> Figure:
        """Plot the seconds of a step on each machine, and what they are spent on."""
        from lablib.views.plots.machine_comparison import machines

        return machines(self.table)

    def __repr__(self):
        return f"<What if: one run of {self.runs[0].spec.ranks} ranks, {len(self.table)} machines>"

    def _repr_html_(self):
        return self.table.to_html(index=False, float_format="{:.4g}".format)


def what_if(
    run: Run, hardware: str | os.PathLike | Hardware | Sequence[str | os.PathLike | Hardware]
) -> WhatIf:
    """Replay the program that `run` recorded on other machines, without starting any rank.

    run        a run of a Cluster or of `train` with hardware=, so that its operations are counted.
               A run without hardware= has CPU seconds instead; it can be replayed only on
               lab.Hardware.measure()
    hardware   one machine or several, as in `Cluster`

    Each trace is, bit for bit, the trace of a new run with this hardware.
    """
    alone = isinstance(hardware, (str, os.PathLike, Hardware))
    runs = [run, *(run.on(machine) for machine in ([hardware] if alone else hardware))]
    import pandas

    return WhatIf(pandas.DataFrame(map(_on_one_machine, runs)), runs)


def _on_one_machine(run):
    batch = run.history.batch if run.history else math.nan
    medians = [metrics.step_s(run.trace, rank)[1:] for rank in range(run.spec.ranks)]
    return {
        "hardware": run.hardware.name if run.hardware else "this computer",
        "ranks": run.spec.ranks,
        "clock": run.clock,
        "run_s": run.trace.duration_s,
        "step_s": max((statistics.median(steps) for steps in medians if steps), default=math.nan),
        "samples_per_s": metrics.samples_per_s(run.trace, batch),
        "comm_share": metrics.comm_share(run.trace),
    }

"""All plots: functions that take data and return a figure.

`timeline` shows one run and `comparison` many. `losses`, `steps`, `messages`, `matrix`,
`time_split`, `pipeline`, `collective`, `scaling`, `staleness`, `ledger` and `roofline` show one
aspect each; `traffic` shows the requests to a served model, `useful_shares` a run with failures.
`concordance` and `events` show tables of published facts. `scores`, `drift` and `messages_seen`
show federated training; `calibration` and `privacy` show a model's probabilities and their price.
Every figure is a `Picture`: a matplotlib Figure with a white background and a text (`.alt`) that
says what it shows and whether its times were measured or modelled.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lablib.errors import LabError
from lablib.record.event import PHASES
from lablib.record.trace import Trace
from lablib.units import show_bytes, show_s
from lablib.views import palette
from lablib.views.plots.agreement_chart import concordance
from lablib.views.plots.checkpoint_chart import useful_shares
from lablib.views.plots.collective_steps import collective
from lablib.views.plots.communication_matrix import matrix
from lablib.views.plots.event_list import events
from lablib.views.plots.federated_charts import drift, messages_seen, scores
from lablib.views.plots.loss_curves import draw_losses
from lablib.views.plots.medical_charts import calibration, privacy
from lablib.views.plots.memory_ledger import ledger
from lablib.views.plots.pipeline_schedule import pipeline
from lablib.views.plots.roofline_chart import roofline
from lablib.views.plots.scaling_chart import scaling
from lablib.views.plots.staleness_chart import staleness
from lablib.views.plots.step_split import time_split
from lablib.views.plots.strategy_panels import comparison
from lablib.views.plots.timeline_chart import timeline
from lablib.views.plots.traffic_chart import traffic
from lablib.views.window import axis_of_seconds

if TYPE_CHECKING:
    from lablib.views.picture import Picture

__all__ = [
    "calibration",
    "collective",
    "comparison",
    "concordance",
    "drift",
    "events",
    "ledger",
    "losses",
    "matrix",
    "messages",
    "messages_seen",
    "pipeline",
    "privacy",
    "roofline",
    "scaling",
    "scores",
    "staleness",
    "steps",
    "time_split",
    "timeline",
    "traffic",
    "useful_shares",
]

_MOST_LINES = 8
_FLATTENS = 20  # times the median: a longer step makes the others look flat


def losses(curves: Mapping[str, Sequence[float]]) -> Picture:
    """Plot loss by step, one curve for each label; curves that agree within 1 % are drawn once.

    Losses are always measured, because real processes compute them even on modelled hardware.
    A label that contains "torch" or "tensorflow" gives its curve that framework's colour.
    Raises LabError if there is no curve.
    """
    from lablib.views.picture import blank, drawing

    if not curves:
        raise LabError("There is no loss to draw.", saw="no curve", do='pass {"ddp": [2.3, 1.9]}')
    with drawing():
        picture = blank(9, 3.6)
        axes = picture.subplots()
        groups = draw_losses(axes, curves)
        axes.set_title("")
        axes.set_title("Loss by step (measured)", loc="left")
    picture.alt = "Loss by step (measured). " + " ".join(
        _describe_losses(group, curves) for group in groups
    )
    return picture


def _describe_losses(group, curves):
    curve = curves[group[0]]
    ends = f"from {curve[0]:.4g} to {curve[-1]:.4g} in {len(curve)} steps" if len(curve) else "none"
    return f"{', '.join(group)}: {ends}."


def steps(trace: Trace) -> Picture:
    """Plot the seconds of every step, one line for each rank; beyond 8 ranks, median and range.

    Raises LabError if the trace has no steps.
    """
    from lablib.views.picture import blank, drawing

    by_rank = {
        rank: [event.seconds for event in part]
        for rank, part in trace.of(kind="step").by_rank().items()
    }
    if not by_rank:
        raise LabError(
            "There are no steps to draw.",
            saw=repr(trace),
            do="mark each training step with `with me.step(samples=64):`",
        )
    scale, unit = axis_of_seconds(max(max(step_s) for step_s in by_rank.values()))
    title = f"Seconds of each step ({trace.clock})"
    with drawing():
        picture = blank(9, 3.4)
        axes = picture.subplots()
        draw = _draw_each_rank if len(by_rank) <= _MOST_LINES else _draw_range
        draw(axes, {r: [scale * s for s in step_s] for r, step_s in by_rank.items()})
        axes.set(xlabel="step", ylabel=f"time of the step [{unit}]")
        axes.set_title(title, loc="left")
        _separate_labels(axes, [s for step_s in by_rank.values() for s in step_s])
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid()
        picture.legend(loc="outside right upper")
    medians = (f"rank {rank} {show_s(statistics.median(s))}" for rank, s in by_rank.items())
    picture.alt = f"{title}. Medians: {', '.join(medians)}."
    return picture


def _separate_labels(axes, lengths):
    """Start the axis at zero; use a log scale if one step is much longer than all others.

    The first step can be such a step, because it builds a graph.
    """
    if max(lengths) <= _FLATTENS * statistics.median(lengths) or min(lengths) <= 0:
        axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
        return
    axes.set(yscale="log", ylabel=f"{axes.get_ylabel()}, log scale")
    axes.yaxis.set_major_formatter("{x:g}")


def _draw_each_rank(axes, by_rank):
    for number, (rank, lengths) in enumerate(by_rank.items()):
        axes.plot(
            range(len(lengths)),
            lengths,
            color=palette.NEUTRAL.color,
            linestyle=palette.DASHES[number % len(palette.DASHES)],
            linewidth=1,
            marker=palette.MARKERS[number],
            markevery=max(1, len(lengths) // 20),
            # Curves of ranks with equal times cover one another: hollow markers of different sizes
            # stay visible.
            markersize=4 + 1.5 * (len(by_rank) - number),
            markerfacecolor="none",
            label=f"rank {rank}",
        )


def _draw_range(axes, by_rank):
    longest = max(len(lengths) for lengths in by_rank.values())
    columns = [[s[n] for s in by_rank.values() if n < len(s)] for n in range(longest)]
    low = [min(column) for column in columns]
    high = [max(column) for column in columns]
    axes.fill_between(
        range(longest), low, high, color=palette.GRID, label="fastest to slowest rank"
    )
    middle = [statistics.median(column) for column in columns]
    axes.plot(range(longest), middle, color=palette.TEXT, label=f"median of {len(by_rank)} ranks")


def messages(trace: Trace) -> Picture:
    """Plot all ranks' wire bytes by message and by pass, with payload and calls beside each bar.

    The formulas are in `record.wire_bytes`. A message between two ranks counts once, at its send.
    Raises LabError if there are no messages.
    """
    from lablib.views.picture import blank, drawing

    sent = [event for event in trace if event.kind == "message" and event.name != "recv"]
    if not sent:
        raise LabError(
            "There are no messages to draw.",
            saw=repr(trace),
            do="draw a run on two or more ranks that send something to one another",
        )
    rows = _by_name(sent)
    title = f"Wire bytes of the messages of {trace.ranks} ranks ({trace.clock})"
    with drawing():
        picture = blank(9, 1.7 + 0.42 * len(rows))
        axes = picture.subplots()
        handles = _draw_messages(axes, rows)
        axes.set_title(title, loc="left")
        if handles:
            picture.legend(handles.values(), handles, loc="outside lower center", ncols=3)
    picture.alt = f"{title}. {'; '.join(f'{row.name}: {row.words}' for row in rows)}."
    return picture


class _Messages(NamedTuple):
    """All messages with one name: wire bytes by phase, payload, number of calls."""

    name: str
    by_phase: dict[str, float]
    payload_bytes: int
    calls: int

    @property
    def wire_bytes(self):
        return sum(self.by_phase.values())

    @property
    def words(self):
        calls = f"{self.calls} call{'' if self.calls == 1 else 's'}"
        payload = show_bytes(self.payload_bytes)
        return f"{show_bytes(self.wire_bytes)}, payload {payload} in {calls}"


def _by_name(sent):
    """Return a row for each name, the one with the most wire bytes first."""
    calls = Counter()
    payload = Counter()
    wire = Counter()
    for event in sent:
        calls[event.name] += 1
        payload[event.name] += event.nbytes
        wire[event.name, event.phase] += event.wire_bytes
    rows = [
        _Messages(name, {phase: wire[name, phase] for phase in PHASES}, payload[name], calls[name])
        for name in calls
    ]
    return sorted(rows, key=lambda row: -row.wire_bytes)


def _draw_messages(axes, rows):
    from lablib.views.picture import plain

    handles = {}
    for place, row in enumerate(rows):
        left = 0
        for phase, size in row.by_phase.items():
            if size:
                label = phase if phase == "other" else f"{phase} pass"
                handles[label] = axes.barh(
                    place,
                    size,
                    left=left,
                    height=0.7,
                    color=palette.COMMUNICATION.color,
                    edgecolor=palette.TEXT,
                    linewidth=0.6,
                    hatch=palette.PHASE_HATCH[phase],
                )
            left += size
        axes.text(left, place, f"  {row.words}", size=9, va="center")
    axes.set_yticks(range(len(rows)), [plain(row.name) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    # Leave space for the words to the right of the longest bar.
    axes.set_xlim(0, 1.6 * max(rows[0].wire_bytes, 1))
    axes.xaxis.set_major_formatter(lambda size, _: show_bytes(size))
    axes.set_xlabel("wire bytes, all ranks together")
    return handles

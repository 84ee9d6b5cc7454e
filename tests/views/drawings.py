"""Small traces and tables to draw, with fixed times; and functions that read a drawing."""

import itertools
import math

from pipeline_orders import gpipe, one_f_one_b

from lablib.hardware import Hardware, Link
from lablib.hardware.device import Device
from lablib.record import plans
from lablib.record.cost import Cost
from lablib.record.simulator import simulate
from lablib.record.trace import Event, Trace


def data_parallel(ranks=2, steps=3, clock="measured"):
    """Return steps of 10 ms: compute until 7, an all-reduce from 4 to 9, so a wait from 7 to 9."""
    group, events = tuple(range(ranks)), []
    for rank, number in itertools.product(range(ranks), range(steps)):
        at = 0.010 * number
        events += [
            Event(rank, "step", f"step {number}", at, at + 0.010),
            Event(rank, "compute", "compute", at, at + 0.007),
            Event(rank, "message", "all_reduce", at + 0.004, at + 0.009, 4000, group, "backward"),
            Event(rank, "message", "broadcast", at + 0.005, at + 0.006, 8, group, "forward"),
            Event(rank, "wait", "all_reduce", at + 0.007, at + 0.009),
        ]
    events.append(Event(0, "mark", "checkpoint", 0.005, 0.005))
    return Trace(events, clock, ranks)


def with_passes(ranks=2, steps=3, clock="modelled"):
    """Rank 0 computes 2 ms longer than the others, which wait; all-reduce from 3 or 5 to 8."""
    group, events = tuple(range(ranks)), []
    for rank, number in itertools.product(range(ranks), range(steps)):
        at, late = 0.010 * number, 0.002 * (rank == 0)
        events += [
            Event(rank, "step", f"step {number}", at, at + 0.010),
            Event(rank, "compute", "compute", at, at + 0.002, phase="forward"),
            Event(rank, "compute", "compute", at + 0.002, at + 0.004 + late, phase="backward"),
            Event(rank, "message", "all_reduce", at + 0.003 + late, at + 0.008, 4000, group),
            Event(rank, "wait", "all_reduce", at + 0.004 + late, at + 0.008),
            Event(rank, "compute", "compute", at + 0.008, at + 0.010),
        ]
    return Trace(events, clock, ranks)


def in_a_line(ranks=4, nbytes=1000):
    """Each rank sends to the next one, ten times as much as the rank before it."""
    events = []
    for rank in range(ranks - 1):
        pair, size = (rank, rank + 1), nbytes * 10**rank
        events += [
            Event(rank, "message", "send", rank, rank + 1, size, pair),
            Event(rank + 1, "message", "recv", 0, rank + 1, size, pair),
        ]
    return Trace(events, ranks=ranks)


def pipelined(stages=4, micro_batches=4, steps=2, order=gpipe):
    """Return a pipeline of equal stages, 1 ms forward, 2 backward, over links without latency."""
    layer = plans.PlannedLayer(Cost(1e9), 0)
    orders = [
        order(rank, stages, micro_batches) if order is one_f_one_b else order(rank, micro_batches)
        for rank in range(stages)
    ]
    program = plans.pipeline(orders, [layer] * stages, 1, steps)
    device = Device("unit", {"fp32": 1e12}, 1e15, 1e12)
    machine = Hardware(device, per_node=stages, within=Link(1e15, 0.0))
    return simulate(program, machine)


def in_a_graph():
    """Return the same without waits, as in TensorFlow, with one message from placement."""
    seen = [event for event in data_parallel() if event.kind != "wait"]
    return Trace([*seen, Event(0, "message", "send", 0.01, 0.02, 64, (0, 1), derived=True)])


def row(strategy, framework, ranks, speedup, share, peak=2e6, clock="measured", counted="waits"):
    return {
        "strategy": strategy,
        "framework": framework,
        "ranks": ranks,
        "clock": clock,
        "samples_per_s": 1000.25 * speedup,
        "speedup": speedup,
        "efficiency": speedup / ranks,
        "comm_share": share,
        "payload_bytes_per_step": 1e6 * ranks,
        "peak_bytes_per_rank": peak,
        "final_loss": 0.4,
        "comm_counted": counted,
    }


SINGLE = [row("single", "torch", 1, 1.0, 0.0, counted="none")]
DEMO = [
    *SINGLE,
    row("ddp", "torch", 2, 1.7, 0.12),
    row("ddp", "torch", 4, 1.6, 0.31),
    row("pipeline_split", "torch", 2, 1.2, 0.42, peak=1e6),
    row("single", "tensorflow", 1, 1.0, 0.0, counted="none"),
    row("multi_worker_mirrored", "tensorflow", 2, 1.5, 0.22, counted="messages"),
    row("multi_worker_mirrored", "tensorflow", 4, 1.3, 0.41, counted="messages"),
    row("device_split", "tensorflow", 2, math.nan, math.nan, peak=math.nan, counted="unseen"),
]
MIXED = DEMO + [
    row(strategy, "torch", ranks, 0.8 * ranks, 0.2, clock="modelled")
    for strategy in ("ddp", "fsdp", "zero_1")
    for ranks in (8, 16, 64)
]
ON_FOUR = [
    *SINGLE,
    *(row(name, "torch", 4, 1.47, 0.6, clock="modelled") for name in ("ddp", "zero3_by_hand")),
    row("tensor_parallel_by_hand", "torch", 4, 0.766, 0.15),
    row("device_split", "tensorflow", 4, math.nan, math.nan, peak=math.nan, counted="unseen"),
]
TABLES = {"one row": SINGLE, "the demo": DEMO, "mixed clocks": MIXED, "on 4 ranks": ON_FOUR}


def labels(picture):
    """Return (words, box) of every text on a picture, as it is drawn."""
    import matplotlib.axes
    import matplotlib.text
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(picture).draw()
    undrawn = {
        id(label)
        for axes in picture.findobj(matplotlib.axes.Axes)
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    return [
        (text.get_text(), text.get_window_extent())
        for text in picture.findobj(matplotlib.text.Text)
        if text.get_visible() and text.get_text().strip() and id(text) not in undrawn
    ]


def words(picture):
    return [text for text, _ in labels(picture)]


def collisions(picture):
    """Return the pairs of texts that overlap."""
    pairs = itertools.combinations(labels(picture), 2)
    return [(a, b) for (a, one), (b, two) in pairs if one.padded(-1).overlaps(two.padded(-1))]


def beyond_the_edge(picture):
    """Return the texts that cross the picture's edge."""
    paper = picture.bbox.padded(2)
    return [
        words
        for words, box in labels(picture)
        if not (paper.contains(*box.min) and paper.contains(*box.max))
    ]


def illegible(picture):
    """Return illegible texts: overlapping, beyond the edge, or smaller than nine points."""
    import matplotlib.text

    found = [text for text in picture.findobj(matplotlib.text.Text) if text.get_fontsize() < 9]
    return collisions(picture) + beyond_the_edge(picture) + [text.get_text() for text in found]

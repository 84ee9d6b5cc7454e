"""Sliders for modelled hardware: the network of a recorded run, data parallelism, pipelines."""

from __future__ import annotations

from dataclasses import replace

from lablib.cluster.run import Run
from lablib.errors import LabError
from lablib.hardware.device import Device
from lablib.hardware.hardware import Hardware
from lablib.hardware.network import Link
from lablib.record import intervals, metrics, plans
from lablib.record.simulator import simulate
from lablib.record.trace import Trace
from lablib.strategies import stages
from lablib.units import show_bytes, show_s
from lablib.views import palette
from lablib.views.diagrams import strips
from lablib.views.plots import timeline_bars
from lablib.views.plots.pipeline_schedule import schedule
from lablib.views.widgets.controls import Controls, Slider
from lablib.views.window import axis_of_seconds, step_count, window

_GBIT = (0.1, 1, 2.5, 10, 25, 50, 100, 200, 400, 800)
_LATENCIES_S = (1e-6, 5e-6, 10e-6, 50e-6, 100e-6, 500e-6, 1e-3, 10e-3, 50e-3)
_RANKS = (1, 2, 4, 8, 16, 32, 64)
_BUCKET_BYTES = tuple(megabytes * 1e6 for megabytes in (25, 50, 100, 200, 400))
_MOST_DRAWN = 3  # the ranks are equal, so more rows would show nothing new
_ORDERS = ("GPipe", "1F1B")


def what_if(run: Run) -> Controls:
    """Replay a recorded run on a network that two sliders choose; show a timeline and a curve.

    run   a run with hardware=; its devices stay the same, and every link gets the chosen speed

    Raises LabError for a run without steps, and for a measured run, whose operations were not
    counted.
    """
    if run.hardware is None or not run.trace.of(kind="step"):
        raise LabError(
            "This run cannot be replayed on another network.",
            saw=repr(run),
            do="run it with hardware= and with steps, as lab.train does",
        )

    def draw(gbit_per_s, latency_s):
        at = {speed: _step_s(_on_link(run, speed, latency_s)) for speed in _GBIT}
        trace = _on_link(run, gbit_per_s, latency_s)
        shown = _first_ranks(trace, _MOST_DRAWN)
        last = step_count(trace) - 1
        scale, unit = axis_of_seconds(max(at.values()))
        curve = strips.Curve(
            f"Time of a step by bandwidth, at a latency of {show_s(latency_s)} (modelled)",
            {speed: scale * step_s for speed, step_s in at.items()},
            gbit_per_s, "bandwidth [Gbit/s]", unit,
        )  # fmt: skip
        took = f"a step takes {show_s(at[gbit_per_s])}"
        title = f"{_whose(shown, trace)}: {took} (modelled, step {last})"
        return strips.draw(_timeline(title, shown, last), curve)

    return Controls(draw, [_bandwidth(10), _latency(50e-6)], "a recorded run on another network")


def data_parallel(
    parameters: float = 1e8, samples: int = 4096, layers: int = 12, device: Device | str = "t4"
) -> Controls:
    """Model data parallelism with sliders for ranks, bandwidth, latency and bucket size.

    parameters, samples, layers   as in `lablib.record.plans.layers`; the samples of each rank
    device                        a Device or its name; each node has one
    """
    model = plans.layers(layers, parameters, samples)

    def trace(ranks, gbit_per_s, latency_s, bucket_bytes):
        machine = _flat(device, ranks, gbit_per_s, latency_s)
        return simulate(plans.data_parallel(model, ranks, bucket_bytes), machine)

    def draw(ranks, **network):
        traces = {n: trace(n, **network) for n in _RANKS}
        alone_s = _step_s(traces[1])
        efficiency = {n: 100 * alone_s / _step_s(each) for n, each in traces.items()}
        times = f"{ranks * efficiency[ranks] / 100:.3g}"
        curve = strips.Curve(
            f"Efficiency by ranks, weak scaling: {ranks} ranks are {times} times as fast as one "
            "(modelled)",
            efficiency, ranks, "ranks", "%", ideal=100,
        )  # fmt: skip
        shown = _first_ranks(traces[ranks], _MOST_DRAWN)
        took = f"a step takes {show_s(_step_s(traces[ranks]))}"
        title = f"{_whose(shown, traces[ranks])}: {took} (modelled)"
        return strips.draw(_timeline(title, shown, 1), curve)

    sliders = [
        Slider("ranks", "ranks", [(str(n), n) for n in _RANKS], 8),
        _bandwidth(25),
        _latency(50e-6),
        Slider("bucket_bytes", "bucket", [(show_bytes(n), n) for n in _BUCKET_BYTES], 25e6),
    ]
    return Controls(draw, sliders, "data parallelism")


def pipeline(
    parameters: float = 1e8, samples: int = 4096, width: int = 1024, device: Device | str = "t4"
) -> Controls:
    """Model a pipeline with sliders for stages, micro-batches, network and order.

    parameters, samples   of the whole model, and of a step on all ranks together
    width                 how many numbers (of 4 bytes) each sample sends from stage to stage
    """

    def trace(count, micro_batches, gbit_per_s, latency_s, order):
        piece = max(1, samples // micro_batches)
        model = plans.layers(count, parameters, piece)
        orders = [_order(order, rank, count, micro_batches) for rank in range(count)]
        program = plans.pipeline(orders, model, 4 * width * piece)
        return simulate(program, _flat(device, count, gbit_per_s, latency_s))

    def draw(stages, micro_batches, **rest):
        at = {m: 100 * metrics.bubble(trace(stages, m, **rest)) for m in _PIECES}
        chosen = trace(stages, micro_batches, **rest)
        title = (
            f"A step takes {show_s(_step_s(chosen))}, bubble {at[micro_batches]:.0f}% (modelled)"
        )
        curve = strips.Curve(
            f"Bubble by micro-batches, {stages} stages (modelled)", at, micro_batches,
            "micro-batches of a step", "%",
        )  # fmt: skip
        return strips.draw(_schedule(title, chosen), curve)

    sliders = [
        Slider("stages", "stages", [(str(n), n) for n in (2, 3, 4, 6, 8)], 4),
        Slider("micro_batches", "micro-batches", [(str(n), n) for n in _PIECES], 4),
        _bandwidth(25),
        _latency(50e-6),
        Slider("order", "order", [(name, name) for name in _ORDERS], "GPipe"),
    ]
    return Controls(draw, sliders, "a pipeline")


_PIECES = (1, 2, 4, 8, 16)


def _order(name, rank, count, micro_batches):
    ahead = micro_batches if name == "GPipe" else count - 1 - rank
    return stages.passes(rank, micro_batches, ahead)


def _bandwidth(start):
    return Slider("gbit_per_s", "bandwidth", [(f"{n:g} Gbit/s", n) for n in _GBIT], start)


def _latency(start):
    return Slider("latency_s", "latency", [(show_s(n), n) for n in _LATENCIES_S], start)


def _link(gbit_per_s, latency_s):
    return Link(gbit_per_s * 1e9 / 8, latency_s)


def _flat(device, ranks, gbit_per_s, latency_s):
    """Return hardware with one device on each node, all on one network."""
    return Hardware(device, nodes=ranks, between=_link(gbit_per_s, latency_s), name="chosen")


def _on_link(run, gbit_per_s, latency_s):
    link = _link(gbit_per_s, latency_s)
    return run.on(replace(run.hardware, within=link, between=link, name="chosen")).trace


def _step_s(trace):
    return max(metrics.step_s(trace, rank)[-1] for rank in range(trace.ranks))


def _whose(shown, trace):
    some = f"Ranks 0 to {shown.ranks - 1} of {trace.ranks}"
    return "All ranks" if shown.ranks == trace.ranks else some


def _first_ranks(trace, most):
    return Trace((e for e in trace if e.rank < most), trace.clock, min(most, trace.ranks))


def _timeline(title, trace: Trace, step: int) -> strips.Strip:
    """Draw one step like the timeline, without the critical path."""
    span = window(trace, step)
    inks = timeline_bars.compute_inks(trace, waits_seen=True)
    drawn, notes = [], []
    for rank in range(trace.ranks):
        events = [event for event in trace.of(rank=rank) if span.shows(event)]
        for bar in (
            *timeline_bars.main_thread(rank, events, inks),
            *timeline_bars.messages(rank, events, True),
        ):
            start_s = max(bar.start_s, span.start_s)
            end_s = min(bar.end_s, span.end_s)
            drawn.append(strips.Bar(rank, bar.ink, start_s, end_s, bar.top - rank, bar.height))
        waits = [(e.start_s, e.end_s) for e in events if e.kind == "wait"]
        notes.append(f"waits {intervals.seconds(waits) / (span.end_s - span.start_s):.0%}")
    names = [f"rank {rank}" for rank in range(trace.ranks)]
    return strips.Strip(title, drawn, names, notes, 56, span.scale, span.unit)


def _schedule(title, trace: Trace) -> strips.Strip:
    found = schedule(trace, step=1)
    scale, unit = axis_of_seconds(max(box.end_s for box in found.boxes))
    drawn = [
        strips.Bar(box.rank, palette.PASSES[box.phase], box.start_s, box.end_s, 0.12, 0.76,
                   str(box.micro_batch))
        for box in found.boxes
    ]  # fmt: skip
    drawn += [
        strips.Bar(rank, palette.BUBBLE, *stretch, 0.12, 0.76)
        for rank, stretches in found.idle.items()
        for stretch in stretches
    ]
    names = [f"rank {rank}" for rank in found.idle]
    notes = [f"keeps {found.in_flight[rank]}" for rank in found.idle]
    return strips.Strip(title, drawn, names, notes, 34, scale, unit)

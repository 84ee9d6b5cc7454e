"""The figures of single labs are legible, show which clock was used, and have a description."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
from drawings import (
    data_parallel,
    illegible,
    in_a_graph,
    pipelined,
    with_passes,
    words,
)
from pipeline_orders import one_f_one_b

from lablib.errors import LabError
from lablib.record import metrics
from lablib.record.cost import Cost
from lablib.record.trace import Event, Trace
from lablib.views import palette, plots
from lablib.views.plots.pipeline_schedule import schedule

SIXTY_FOUR = {
    name: {ranks: ranks**power for ranks in (1, 2, 4, 8, 16, 32, 64)}
    for name, power in (("dgx-a100", 0.95), ("ethernet-10", 0.8), ("raspberry-pi", 0.2))
}
LOSSES = {
    bound: [2.3 * factor**step for step in range(20)]
    for bound, factor in ((0, 0.9), (2, 0.92), (4, 0.95), (8, 1.2))
} | {math.inf: [2.3, 9.0, math.inf]}
HELD = {
    "data parallel": {"weights": 14e9, "gradients": 14e9, "optimizer": 84e9, "activations": 9e9},
    "all of it sharded": {"weights": 1.75e9, "gradients": 1.75e9, "optimizer": 10.5e9},
}
OPERATIONS = {
    "matrix product": Cost(2e9, 12e6),
    "addition": Cost(1e6, 12e6),
    "a tiny one": Cost(100, 100),
}
PICTURES = {
    "scaling": lambda: plots.scaling({"ddp (torch)": {1: 1.0, 2: 1.7, 4: 1.5}}),
    "scaling to 64": lambda: plots.scaling(SIXTY_FOUR, "modelled", amdahl=0.05, gustafson=0.1),
    "scaling, both clocks": lambda: plots.scaling(
        {"here": {1: 1.0, 2: 1.4}, "there": {1: 1.0, 2: 1.9}},
        {"here": "measured", "there": "modelled"},
    ),
    "time split": lambda: plots.time_split(
        {
            "passes": with_passes(),
            "plain": data_parallel(),
            "graph": in_a_graph(),
            "pipeline": pipelined(),
            "one step": data_parallel(steps=1),
        }
    ),
    "staleness": lambda: plots.staleness(LOSSES),
    "ledger": lambda: plots.ledger(HELD, "a100"),
    "ledger without a device": lambda: plots.ledger(HELD, clock="measured"),
    "roofline": lambda: plots.roofline("t4", OPERATIONS, {"matrix product": 1e-3}),
    "traffic": lambda: plots.traffic(requests(), np.linspace(2, 6, 40), np.linspace(3, 7, 90)),
    "pipeline": lambda: plots.pipeline(pipelined()),
    "pipeline of 16": lambda: plots.pipeline(pipelined(stages=16, micro_batches=32)),
}


def requests(number=40):
    """Requests to two versions, of which the second one fails at every tenth request."""
    rows = [
        {"version": 1 + (at % 4 == 0), "latency_s": 0.002 * (1 + at % 3), "error": at % 20 == 0,
         "correct": at % 5 > 0}
        for at in range(number)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@functools.cache
def drawn(name):
    return PICTURES[name]()


@pytest.mark.parametrize("name", PICTURES)
def test_words_are_legible_and_in_their_place(name):
    picture = drawn(name)
    assert illegible(picture) == []


@pytest.mark.parametrize("name", PICTURES)
def test_a_figure_says_its_clock_in_the_picture_and_in_words(name):
    picture = drawn(name)
    for said in (picture.alt.partition(".")[0], " ".join(words(picture))):
        assert "measured" in said or "modelled" in said


# Scaling


def line(picture, panel, number=0):
    return [tuple(point) for point in picture.axes[panel].lines[number].get_xydata()]


def test_efficiency_is_speed_up_by_rank():
    picture = plots.scaling({"ddp": {4: 2.0, 1: 1.0}})
    assert line(picture, 0) == [(1, 1), (4, 2)]
    assert line(picture, 1) == [(1, 100), (4, 50)]
    assert "2.00 on 4 (50% efficient)" in picture.alt


def test_the_laws_are_those_of_amdahl_and_gustafson():
    assert metrics.amdahl_speedup(0.05, 64) == pytest.approx(1 / (0.05 + 0.95 / 64))
    assert metrics.gustafson_speedup(0.05, 64) == pytest.approx(0.05 + 0.95 * 64)
    assert metrics.amdahl_speedup(0.05, 10**9) < 20 < metrics.gustafson_speedup(0.05, 64)
    alt = drawn("scaling to 64").alt
    assert f"Amdahl's law, serial share 0.05: {1 / (0.05 + 0.95 / 64):.2f} on 64" in alt
    assert f"Gustafson's law, serial share 0.1: {0.1 + 0.9 * 64:.2f} on 64" in alt


def test_modelled_curves_are_dashed_and_both_clocks_are_named():
    styles = [each.get_linestyle() for each in drawn("scaling, both clocks").axes[0].lines[:2]]
    assert styles == ["-", "--"]
    assert {"here, measured", "there, modelled"} <= set(words(drawn("scaling, both clocks")))


@pytest.mark.parametrize("wrong", [{}, {"ddp": {}}])
def test_no_speed_up_is_an_error(wrong):
    with pytest.raises(LabError, match="no speed-up"):
        plots.scaling(wrong)


def test_a_serial_share_beyond_one_is_an_error():
    with pytest.raises(LabError, match="between 0 and 1"):
        plots.scaling({"ddp": {1: 1.0}}, amdahl=5)


# Time split


def test_the_parts_of_a_step_are_all_of_it():
    for trace in (data_parallel(), with_passes(), in_a_graph(), pipelined()):
        assert sum(metrics.step_split(trace).values()) == pytest.approx(1)


def test_a_step_divides_by_what_its_ranks_did():
    """In a step of 10 ms, bytes move from 5 on, when rank 0 has joined; rank 1 waits from 4 on."""
    rank_0 = {"forward": 2, "backward": 4, "other": 2, "moving": 2, "idle": 0}
    rank_1 = {"forward": 2, "backward": 2, "other": 2, "moving": 3, "idle": 1}
    split = metrics.step_split(with_passes())
    assert split == {name: pytest.approx((rank_0[name] + rank_1[name]) / 20) for name in rank_0}


def test_idling_is_the_bubble():
    for trace in (with_passes(), pipelined()):
        assert metrics.step_split(trace)["idle"] == pytest.approx(metrics.bubble(trace))


def test_what_was_not_seen_is_not_drawn():
    assert metrics.step_split(data_parallel(steps=1)) == {}
    shown = words(drawn("time split"))
    assert "not recorded" in shown
    assert any(text.startswith("≤ ") for text in shown)


# Staleness


def test_a_run_that_diverges_leaves_the_panel_and_is_crossed():
    left, right = drawn("staleness").axes
    assert left.get_ylim()[1] < 2 * 2.3
    assert [mark.get_marker() for mark in right.lines].count("x") == 2
    assert "x: above" in right.get_title()
    assert "no bound" in words(drawn("staleness"))


def test_no_loss_is_an_error():
    with pytest.raises(LabError, match="no loss"):
        plots.staleness({0: []})


# Ledger


def test_what_does_not_fit_says_so_and_what_fits_does_not():
    assert "121 GB: does not fit" in words(drawn("ledger"))
    assert "14 GB" in words(drawn("ledger"))
    alt = drawn("ledger").alt
    assert "together 121 GB, does not fit" in alt and "together 14 GB, fits" in alt
    assert "fit" not in drawn("ledger without a device").alt


def test_a_row_is_as_long_as_its_parts():
    bars = drawn("ledger").axes[0].patches
    assert [bar.get_x() for bar in bars[:4]] == [0, 14e9, 28e9, 112e9]
    assert bars[3].get_x() + bars[3].get_width() == 121e9


@pytest.mark.parametrize("wrong", [{"a": {"weight": 1}}, {"a": {"weights": -1}}, {}])
def test_a_ledger_of_other_parts_is_an_error(wrong):
    with pytest.raises(LabError, match="ledger has four parts|no memory"):
        plots.ledger(wrong)


def test_parts_that_touch_differ_in_lightness_or_hatch():
    inks = (palette.WEIGHTS, palette.GRADIENTS, palette.OPTIMIZER, palette.ACTIVATIONS)
    for one, next_one in zip(inks, inks[1:]):
        assert abs(lightness(one) - lightness(next_one)) > 0.25
        assert one.hatch != next_one.hatch


def lightness(ink):
    from matplotlib.colors import to_rgb

    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), to_rgb(ink.color)))


# Roofline


def test_operations_lie_where_the_device_puts_them_and_measured_ones_where_they_were():
    alt = drawn("roofline").alt
    assert "matrix product (measured): 167 FLOPs a byte, 2 TFLOP/s, 25% of what arithmetic" in alt
    assert "addition (modelled): 0.0833 FLOPs a byte" in alt
    # It is limited by its start, so it stays far below the roof.
    assert "a tiny one (modelled): 1 FLOPs a byte, 20 MFLOP/s, 0% of what memory allows" in alt


@pytest.mark.parametrize(
    "operations",
    [{}, {"a": Cost(1, 1), "b": Cost(1, 1, "bf16")}, {"a": Cost(0, 1)}, {"a": Cost(1, 0)}],
)
def test_what_has_no_place_on_a_roofline_is_told(operations):
    with pytest.raises(LabError, match="roofline"):
        plots.roofline("t4", operations)


# Pipeline


@pytest.mark.parametrize("stages, micro_batches", [(2, 4), (4, 4), (4, 8)])
def test_the_bubble_of_equal_stages_is_the_closed_form(stages, micro_batches):
    found = schedule(pipelined(stages, micro_batches))
    assert found.bubble == pytest.approx((stages - 1) / (micro_batches + stages - 1))
    assert (found.stages, found.micro_batches) == (stages, micro_batches)
    assert set(found.in_flight.values()) == {micro_batches}


def test_every_pass_has_its_number():
    found = schedule(pipelined(2, 3))
    assert [(box.phase[0], box.micro_batch) for box in found.boxes if box.rank == 1] == [
        *(("f", number) for number in range(3)),
        *(("b", number) for number in range(3)),
    ]
    written = [text.get_text() for text in plots.pipeline(pipelined(2, 3)).axes[0].texts]
    assert written[:12] == [*"012012012012"]


def test_1f1b_keeps_no_more_than_there_are_stages_behind():
    found = schedule(pipelined(4, 8, order=one_f_one_b))
    assert found.in_flight == {0: 4, 1: 3, 2: 2, 3: 1}
    assert found.bubble == pytest.approx(3 / 11)


def test_where_nothing_is_sent_between_two_passes_other_compute_parts_them():
    def unsent(event):
        return event.rank == 1 and event.kind == "message"

    apart = []
    for event in pipelined(2, 3):
        if event.rank == 1 and event.kind == "compute":
            end_s = event.end_s - 0.0001
            apart.append(Event(1, "compute", "compute", end_s, event.end_s))
            event = Event(1, "compute", "compute", event.start_s, end_s, phase=event.phase)
        if not unsent(event):
            apart.append(event)
    assert schedule(Trace(apart, "modelled")).micro_batches == 3


@pytest.mark.parametrize("trace", [data_parallel(), with_passes(), in_a_graph()])
def test_what_is_no_pipeline_is_told(trace):
    with pytest.raises(LabError, match="not look like a pipeline|not have these"):
        plots.pipeline(trace, micro_batches=4)


def test_a_step_that_is_not_there_is_told():
    with pytest.raises(LabError, match="these steps"):
        plots.pipeline(pipelined(), step=9)
    with pytest.raises(LabError, match="nothing to draw"):
        plots.pipeline(Trace())


def test_the_bubble_is_marked_where_the_rank_is_idle():
    trace = pipelined(2, 2)
    found = schedule(trace, step=1)
    wait = next(e for e in trace.of(rank=1, kind="wait") if e.start_s >= found.idle[1][0][0])
    assert found.idle[1][0] == pytest.approx((wait.start_s, wait.end_s))
    assert found.boxes[len(found.boxes) // 2].start_s == pytest.approx(wait.end_s)


# Traffic


def test_traffic_shows_each_version_with_its_errors_and_right_answers():
    alt = drawn("traffic").alt
    assert "version 1: 30 requests, 0 errors" in alt
    assert "version 2: 10 requests, 2 errors, 80.0% right answers" in alt
    assert "4.0 for the requests and 5.0 for the training images" in alt
    assert {"version 1", "version 2", "version 2: error"} <= set(words(drawn("traffic")))


def test_no_request_is_an_error():
    with pytest.raises(LabError, match="no request"):
        plots.traffic(requests(0), np.ones(0), np.ones(3))

"""Plots are legible, show which clock was used, and are described in words."""

import base64
import functools
import io
import subprocess
import sys

import matplotlib
import matplotlib.colors
import matplotlib.image
import matplotlib.patches
import matplotlib.style
import numpy
import pandas
import pytest
from drawings import (
    DEMO,
    MIXED,
    ON_FOUR,
    TABLES,
    data_parallel,
    illegible,
    in_a_graph,
    in_a_line,
    row,
    with_passes,
    words,
)

from lablib import frameworks
from lablib.errors import LabError
from lablib.record.trace import Event, Trace
from lablib.views import palette, plots
from lablib.views.picture import blank, drawing
from lablib.views.plots.loss_curves import agreeing
from lablib.views.traffic import traffic

LOSSES = {
    "ddp, torch, 2": [2.3, 1.1, 0.5],
    "single, torch, 1": [2.3, 1.1001, 0.5],
    "alone, torch": [2.3, 1.9, 1.8],
    "diverged": [2.3, 9e9, float("inf")],
}
PICTURES = {
    "timeline": lambda: plots.timeline(data_parallel()),
    "timeline of a graph": lambda: plots.timeline(in_a_graph()),
    "timeline of 40 ranks": lambda: plots.timeline(data_parallel(40, 2)),
    "timeline of one mark": lambda: plots.timeline(Trace([Event(0, "mark", "here", 5, 5)])),
    "timeline of passes": lambda: plots.timeline(with_passes(8)),
    "timeline of passes, many ranks": lambda: plots.timeline(with_passes(20)),
    "matrix": lambda: plots.matrix(data_parallel(4)),
    "matrix of 2 ranks": lambda: plots.matrix(data_parallel(), steps=range(1, 3)),
    "matrix of 64 ranks": lambda: plots.matrix(data_parallel(64)),
    "matrix with a wide range": lambda: plots.matrix(in_a_line(8)),
    "steps": lambda: plots.steps(data_parallel()),
    "steps of 12 ranks": lambda: plots.steps(data_parallel(12)),
    "messages": lambda: plots.messages(data_parallel()),
    "messages without bytes": lambda: plots.messages(Trace([Event(0, "message", "barrier", 0, 1)])),
    "losses": lambda: plots.losses(LOSSES),
}


@pytest.fixture(params=TABLES)
def table(request):
    return pandas.DataFrame(TABLES[request.param])


@functools.cache
def drawn(name):
    return PICTURES[name]()


@pytest.mark.parametrize("name", PICTURES)
def test_words_of_a_plot_are_legible(name):
    assert illegible(drawn(name)) == []


def test_words_of_a_comparison_are_legible(table):
    picture = plots.comparison(table, {label: LOSSES[label] for label in LOSSES})
    assert illegible(picture) == []


def test_those_claims_can_fail():
    with drawing():
        picture = blank(4, 2)
        for words in ("one", "two"):
            picture.text(0.5, 0.5, words)
        picture.text(0.99, 0.1, "over the edge")
        picture.text(0.2, 0.5, "small", size=8)
    assert illegible(picture) == [("one", "two"), "over the edge", "small"]


@pytest.mark.parametrize("clock", ["measured", "modelled"])
@pytest.mark.parametrize("draw", [plots.timeline, plots.steps, plots.messages, plots.matrix])
def test_a_plot_says_its_clock_in_the_picture_and_in_words(draw, clock):
    picture = draw(data_parallel(clock=clock))
    other = {"measured": "modelled", "modelled": "measured"}[clock]
    assert clock in picture.alt and other not in picture.alt
    assert any(clock in text for text in words(picture))


# How it shows


def pixels(png):
    return matplotlib.image.imread(io.BytesIO(png))


def test_a_picture_is_opaque_and_the_same_whatever_style_the_learner_chose():
    plain = plots.steps(data_parallel()).png()
    with (
        matplotlib.rc_context({"savefig.transparent": True}),
        matplotlib.style.context("dark_background"),
    ):
        dark = plots.steps(data_parallel()).png()
    assert numpy.array_equal(pixels(plain), pixels(dark))
    assert (pixels(dark)[..., 3] == 1).all()
    assert (pixels(dark)[0, 0] == 1).all()


def test_drawing_leaves_the_learners_style_alone():
    before = dict(matplotlib.rcParams)
    plots.timeline(data_parallel()).png()
    assert dict(matplotlib.rcParams) == before


def test_a_notebook_gets_one_image_with_its_text_alternative():
    picture = plots.losses({'"<b>': [2.0, 1.0]})
    data, metadata = picture._repr_mimebundle_()
    assert (
        'alt="Loss by step (measured). &quot;&lt;b&gt;: from 2 to 1 in 2 steps."'
        in (data["text/html"])
    )
    assert data["text/plain"] == picture.alt == metadata["image/png"]["alt"]
    assert pixels(base64.b64decode(data["image/png"])).shape[2] == 4


def test_equal_pictures_give_equal_svg_with_the_words_as_title():
    one, two = (plots.timeline(data_parallel()).svg() for _ in range(2))
    assert one == two
    assert "<title>What each rank did when (measured)" in one


def test_plots_leave_no_figure_behind_and_load_matplotlib_late():
    code = (
        "import sys; from lablib.views import plots, diagrams;"
        "from lablib.views.pages import comparison_report;"
        "assert not {'matplotlib', 'pandas', 'torch', 'tensorflow'} & set(sys.modules);"
        "plots.losses({'a': [1.0]}).png(); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# Palette


def test_every_meaning_has_its_own_colour():
    inks = (
        palette.FORWARD,
        palette.BACKWARD,
        palette.OTHER,
        palette.EXPOSED,
        palette.HIDDEN,
        palette.WAITING,
        *map(palette.framework, frameworks.NAMES),
        palette.IDEAL,
        palette.NEUTRAL,
    )
    assert len({ink.color for ink in inks}) == len(inks)


def test_areas_side_by_side_differ_without_colour():
    for stack in (
        (palette.COMPUTE, palette.BACKWARD, palette.WAITING, palette.COMMUNICATION),
        (palette.EXPOSED, palette.HIDDEN),
        [palette.framework(name) for name in frameworks.NAMES],
    ):
        assert len({ink.hatch for ink in stack}) == len(stack)


# Timeline


def bars(picture):
    """Return the legend's names; and {(colour, hatch): (start, width) of the bars on the axis}."""
    names = [text.get_text() for text in picture.legends[0].get_texts()]
    found = {}
    for patch in picture.axes[0].findobj(matplotlib.patches.PathPatch):
        look = matplotlib.colors.to_hex(patch.get_facecolor()).upper(), patch.get_hatch() or ""
        for corners in patch.get_path().to_polygons():
            start, end = corners[:, 0].min(), corners[:, 0].max()
            found.setdefault(look, []).append((start, end - start))
    return names, found


def look(ink):
    return ink.color.upper(), ink.hatch


def path_line(picture):
    """Return (time, row) of the corners of the critical path; None if none is drawn."""
    lines = [line for line in picture.axes[0].lines if line.get_path_effects()]
    return lines[0].get_xydata() if lines else None


def test_a_bar_is_as_long_as_what_it_shows():
    names, found = bars(plots.timeline(data_parallel(ranks=1), steps=1))
    assert "waiting for a message" in names
    (wait,) = found[look(palette.WAITING)]
    assert wait == pytest.approx((7.0, 2.0))


def test_a_choice_of_steps_shows_those_alone():
    shown = words(plots.timeline(data_parallel(), steps=range(1, 3)))
    assert {"step 1", "step 2"} <= set(shown) and "step 0" not in shown


@pytest.mark.parametrize("steps", [3, -1, range(7, 9)])
def test_steps_that_the_trace_does_not_have_are_an_error(steps):
    with pytest.raises(LabError, match="up to 3 steps"):
        plots.timeline(data_parallel(), steps=steps)


def test_a_long_run_shows_its_last_steps_and_says_so():
    long = data_parallel(ranks=1, steps=30)
    shown = words(plots.timeline(long))
    assert "step 29" in shown and "step 24" not in shown
    assert "What each rank did when (measured, steps 25 to 29 of 30)" in shown
    assert "What each rank did when (measured)" in words(plots.timeline(long[:50]))


def test_more_bars_than_a_screen_has_dots_are_joined_and_cover_the_same_time():
    halves = [Event(0, "wait", "recv", number, number + 0.5) for number in range(3000)]
    _, found = bars(plots.timeline(Trace(halves)))
    joined = found[look(palette.WAITING)]
    assert len(joined) < 1000
    assert joined[0][0] == 0 and sum(joined[-1]) == pytest.approx(2999.5, abs=3)


def test_where_waits_were_not_seen_nothing_claims_to_be_compute():
    names, _ = bars(plots.timeline(in_a_graph()))
    assert "computing or waiting, not told apart" in names and "compute" not in names
    assert any("time not seen" in name for name in names)
    assert "compute" in bars(plots.timeline(data_parallel()))[0]


def test_passes_are_told_apart_where_the_trace_has_them():
    names, found = bars(plots.timeline(with_passes(ranks=1), steps=0))
    assert found[look(palette.FORWARD)] == [pytest.approx((0, 2))]
    assert found[look(palette.BACKWARD)] == [pytest.approx((2, 4))]
    assert found[look(palette.OTHER)] == [pytest.approx((8, 2))]
    assert {ink.label for ink in palette.PASSES.values()} <= set(names)
    assert palette.FORWARD.label not in bars(plots.timeline(data_parallel()))[0]


def test_a_message_is_hidden_while_its_rank_computes_and_exposed_while_it_waits():
    names, found = bars(plots.timeline(with_passes(ranks=1), steps=0))
    assert found[look(palette.HIDDEN)] == [pytest.approx((5, 1))]
    assert found[look(palette.EXPOSED)] == [pytest.approx((6, 2))]
    assert {palette.HIDDEN.label, palette.EXPOSED.label} <= set(names)


def test_where_waits_were_not_seen_no_message_claims_to_be_hidden():
    names, found = bars(plots.timeline(in_a_graph()))
    assert palette.HIDDEN.label not in names and look(palette.COMMUNICATION) in found


def test_the_critical_path_runs_below_whom_the_others_wait_for():
    picture = plots.timeline(with_passes(ranks=3), steps=0)
    corners = path_line(picture)
    assert (corners[:, 1] < 1).all()  # all of it is in the row of rank 0, the slow one
    assert (corners[0, 0], corners[-1, 0]) == pytest.approx((0, 10))
    assert "critical path" in bars(picture)[0]
    assert "Critical path: compute 70%, message 30%, through rank 0." in picture.alt


def test_it_can_be_left_out_and_is_where_it_is_not_known_or_has_too_many_bends():
    assert path_line(plots.timeline(with_passes(), critical_path=False)) is None
    for trace, why in ((in_a_graph(), "not known"), (ping_pong(200), "too many to draw")):
        picture = plots.timeline(trace)
        assert path_line(picture) is None
        assert why in picture.alt
        assert any(why in text for text in words(picture))
    assert path_line(plots.timeline(ping_pong(20))) is not None


def test_it_breaks_off_where_it_goes_through_ranks_that_are_not_drawn():
    alone = [Event(r, "compute", "compute", 0, 1) for r in range(40)]
    pair = (39, 0)
    hand_over = [
        Event(39, "compute", "compute", 1, 3),
        Event(39, "message", "send", 3, 3, 8, pair),
        Event(0, "message", "recv", 1, 3, 8, pair),
        Event(0, "wait", "recv", 1, 3),
        Event(0, "compute", "compute", 3, 4),
    ]
    picture = plots.timeline(Trace([*alone, *hand_over], "modelled"))
    drawn = path_line(picture)
    assert numpy.nanmin(drawn[:, 0]) == 0 and numpy.isnan(drawn[:2, 1]).all()
    assert drawn[-1, 0] == 4 and "through rank 0, 39" in picture.alt


def ping_pong(times):
    """Return a trace in which two ranks take turns: one computes, the other waits for it."""
    events = []
    for at in range(times):
        here, there = at % 2, 1 - at % 2
        events += [
            Event(here, "compute", "compute", at, at + 1),
            Event(here, "message", "send", at + 1, at + 1, 8, (here, there)),
            Event(there, "message", "recv", at, at + 1, 8, (here, there)),
            Event(there, "wait", "recv", at, at + 1),
        ]
    return Trace(events, "modelled")


def test_a_rank_without_events_has_its_row():
    assert "rank 2" in words(plots.timeline(Trace(data_parallel(), ranks=3)))


@pytest.mark.parametrize("draw", [plots.timeline, plots.steps, plots.messages, plots.matrix])
def test_nothing_to_draw_is_an_error_that_says_so(draw):
    with pytest.raises(LabError, match="draw"):
        draw(Trace())


# Matrix


def cells(picture):
    """Return {(source, destination): text of the cell}."""
    return {
        tuple(int(place) for place in reversed(text.get_position())): text.get_text()
        for text in picture.axes[0].texts
    }


def test_messages_between_two_are_counted_exactly_and_once():
    picture = plots.matrix(in_a_line(3))
    assert cells(picture) == {(0, 1): "1 kB", (1, 2): "10 kB"}
    assert "spread" not in picture.alt


def test_collectives_are_spread_evenly_and_the_figure_says_so():
    picture = plots.matrix(data_parallel(ranks=3, steps=2))
    # The messages have 4000 and 8 bytes in 2 steps; each counts 2 (R - 1) / R times, over 2 others.
    assert set(cells(picture).values()) == {"5.34 kB"}
    assert len(cells(picture)) == 6
    assert any("spread evenly over the others" in text for text in words(picture))
    assert "spread evenly over the others" in picture.alt


def test_the_traffic_of_all_pairs_is_the_wire_bytes_of_all_ranks():
    for trace in (data_parallel(5), in_a_line(4), in_a_graph()):
        sent = [event.wire_bytes for event in trace if event.name != "recv"]
        assert sum(traffic(trace).values()) == pytest.approx(sum(sent))


def test_a_choice_of_steps_counts_those_alone():
    whole, one = (plots.matrix(data_parallel(), steps=steps) for steps in (None, 2))
    assert (cells(whole)[0, 1], cells(one)[0, 1]) == ("12 kB", "4.01 kB")
    assert "Who sends how much to whom (measured, step 2 of 3)" in words(one)


def test_shades_are_logarithmic_only_where_sizes_differ_much():
    assert "bytes sent, logarithmic" in words(plots.matrix(in_a_line(4)))
    assert "bytes sent" in words(plots.matrix(in_a_line(2)))


def test_ranks_that_only_compute_have_no_traffic_to_draw():
    with pytest.raises(LabError, match="no traffic"):
        plots.matrix(Trace([Event(0, "compute", "compute", 0, 1)]))


# Comparison


def test_both_clocks_are_named_where_both_occur():
    shown = words(plots.comparison(pandas.DataFrame(MIXED)))
    assert (
        "Strategies compared (times measured and modelled, loss measured, memory counted)" in shown
    )
    assert "ddp, torch × 2, measured" in shown and "ddp, torch × 8, modelled" in shown
    assert "fsdp, torch, modelled" in shown


def test_modelled_lines_are_dashed():
    table = [row("ddp", "torch", ranks, ranks, 0.1, clock="modelled") for ranks in (2, 4)]
    dashed = plots.comparison(pandas.DataFrame(table)).subfigs[0].axes[0].lines[0]
    solid = plots.comparison(pandas.DataFrame(DEMO)).subfigs[0].axes[0].lines[0]
    assert (dashed.get_linestyle(), solid.get_linestyle()) == ("--", "-")


def test_where_each_has_one_number_of_ranks_speed_ups_are_rows_and_not_points_on_points():
    picture = plots.comparison(pandas.DataFrame(ON_FOUR))
    (loss,), (speedup, *_) = (half.axes for half in picture.subfigs)
    assert loss.get_title() == "Final loss"
    assert speedup.get_xlabel() == "times one process; ideal is 4"
    assert [bar.get_width() for bar in speedup.patches] == [1.0, 1.47, 1.47, 0.766]
    assert [text.get_text() for text in speedup.texts] == [
        *("1", "1.47", "1.47", "0.766", "not recorded"),
    ]


def test_unknown_numbers_are_said_to_be_unknown():
    shown = words(plots.comparison(pandas.DataFrame(DEMO)))
    assert shown.count("not recorded") == 2


def test_a_bound_is_not_shown_as_a_value():
    shown = words(plots.comparison(pandas.DataFrame(DEMO)))
    assert "≤ 41%" in shown and "31%" in shown
    assert "message under way (at most; it may overlap compute)" in shown


def test_the_words_of_a_comparison_hold_every_row():
    alt = plots.comparison(pandas.DataFrame(DEMO)).alt
    assert "ddp in torch on 4 ranks, speed-up 1.60, communication 31% of a step" in alt
    assert alt.count("(measured)") == len(DEMO) + 1
    assert "nan" not in alt


# Losses


def test_runs_that_nobody_could_tell_apart_are_one_curve_and_others_are_not():
    assert agreeing(LOSSES) == [
        ["ddp, torch, 2", "single, torch, 1"],
        ["alone, torch"],
        ["diverged"],
    ]


def test_a_run_that_became_nan_agrees_with_nothing():
    nan = float("nan")
    assert agreeing({"a": [1.0, nan], "b": [1.0, nan]}) == [["a"], ["b"]]


def test_losses_have_one_title_and_whole_steps():
    axes = plots.losses(LOSSES).axes[0]
    assert (axes.get_title(), axes.get_title("left")) == ("", "Loss by step (measured)")
    assert all(step == int(step) for step in axes.get_xticks())


def test_a_run_that_diverges_does_not_flatten_the_others():
    top = plots.losses(LOSSES).axes[0].get_ylim()[1]
    assert top < 5


def test_one_long_step_does_not_flatten_the_others():
    def scale(first_s):
        ends = [0.0, first_s, first_s + 0.01, first_s + 0.02, first_s + 0.03]
        return plots.steps(Trace(steps_between(ends))).axes[0].get_yscale()

    assert (scale(0.01), scale(1.0)) == ("linear", "log")


def steps_between(ends):
    pairs = zip(ends, ends[1:])
    return [Event(0, "step", f"step {n}", *pair) for n, pair in enumerate(pairs)]


@pytest.mark.parametrize("label", ["$x^2", "$a$ and $b$", "_hidden", r"\frac{"])
def test_a_label_is_shown_as_it_was_written(label):
    picture = plots.losses({label: [2.0, 1.0]})
    assert len(picture.png()) > 1000
    assert any(label.strip("$") in text.replace("\\$", "$") for text in words(picture))

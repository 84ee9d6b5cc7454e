"""Sliders over modelled hardware: they change the figure, and the numbers are right."""

import re
import sys
from xml.etree import ElementTree

import pytest

from lablib.cluster.engine.messages import Record
from lablib.cluster.run import Run
from lablib.cluster.spec import Spec
from lablib.errors import LabError
from lablib.hardware import get
from lablib.record.cost import Cost
from lablib.record.rows import Computed, Issued, StepBegun, StepEnded, Waited
from lablib.views import diagrams, widgets
from lablib.views.diagrams.strips import Bar, Curve, Strip, draw

VIEW = "application/vnd.jupyter.widget-view+json"
STEP = [
    StepBegun(0.0),
    Computed("forward", (Cost(1e9, 1e6),), 0.0),
    Computed("backward", (Cost(2e9, 2e6),), 0.0),
    Issued(0, 0.0, "all_reduce", 10_000_000, (0, 1), "backward", "", "g", 1),
    Waited(0, 0.0, 0.0),
    StepEnded(0.0, 0.0, 1),
]


def recorded(hardware="ethernet-10", rows=STEP):
    record = Record(rows, logged=[], cpu_s=0.0, peak_bytes=0, live_bytes=[], clock_reads=[])
    spec = Spec.of(2, nodes=None, per_node=None, roles=None, framework="torch", device="cpu",
                   threads=None)  # fmt: skip
    return Run(spec, [None, None], ["", ""], [record, record], hardware and get(hardware))


CONTROLS = {
    "what_if": lambda: widgets.what_if(recorded()),
    "data_parallel": widgets.data_parallel,
    "pipeline": widgets.pipeline,
}


@pytest.fixture(params=CONTROLS)
def controls(request):
    return CONTROLS[request.param]()


def texts(diagram):
    svg = ElementTree.fromstring(diagram.svg)
    return ["".join(text.itertext()) for text in svg.iter("{http://www.w3.org/2000/svg}text")]


def test_every_slider_stands_on_one_of_its_values(controls):
    for slider in controls.sliders:
        assert slider.start in [value for _, value in slider.choices]


def test_a_moved_slider_draws_what_its_value_gives(controls):
    box = controls.widget()
    *sliders, page = box.children
    assert "<img" in page.value
    for slider, described in zip(sliders, controls.sliders):
        assert slider.description == described.label
        before, value = page.value, described.choices[-1][1]
        slider.value = value
        assert page.value != before
        slider.value = described.start
        assert page.value == before


def test_every_choice_can_be_drawn_and_says_that_it_is_modelled(controls):
    for slider in controls.sliders:
        for _, value in slider.choices:
            diagram = controls.figure(**{slider.name: value})
            assert "(modelled" in diagram.title and "(modelled" in diagram.description
            assert int(ElementTree.fromstring(diagram.svg).get("width")) <= 900


def test_outside_a_notebook_the_figure_shows_as_it_is(controls, monkeypatch):
    assert VIEW not in controls._repr_mimebundle_()
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert "<img" in controls._repr_mimebundle_()["text/html"]


def test_a_slider_that_is_not_there_is_told(controls):
    with pytest.raises(LabError, match="no such slider"):
        controls.figure(colour="red")


def seconds(diagram):
    """Return the duration of a step in the title, in ms."""
    number, unit = re.search(r"a step takes ([\d.]+) (us|ms|s)", diagram.title, re.I).groups()
    return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]


def test_ten_times_the_bandwidth_sends_in_a_tenth_of_the_time():
    controls = widgets.what_if(recorded())
    one, ten, most = (seconds(controls.figure(gbit_per_s=n, latency_s=1e-6)) for n in (1, 10, 800))
    assert (one - most) / (ten - most) == pytest.approx(10, rel=0.05)


def test_a_recorded_run_takes_on_its_own_network_what_its_trace_says():
    run = recorded()
    assert widgets.what_if(run).start["gbit_per_s"] == 10
    played = widgets.what_if(run).figure(gbit_per_s=10, latency_s=50e-6)
    same = run.on(run.hardware)
    assert same.trace.of(rank=0, kind="step")[0].seconds > 0
    assert "waits" in played.description


def test_one_bucket_for_all_hides_nothing():
    controls = widgets.data_parallel()
    whole, cut = (seconds(controls.figure(bucket_bytes=n)) for n in (400e6, 25e6))
    assert whole > cut


def test_more_micro_batches_leave_less_bubble_and_1f1b_keeps_fewer():
    controls = widgets.pipeline()
    few, many = (controls.figure(micro_batches=n, latency_s=1e-6) for n in (2, 16))
    bubbles = [int(re.search(r"bubble (\d+)%", each.title)[1]) for each in (few, many)]
    assert bubbles[0] > 2 * bubbles[1]
    kept = controls.figure(micro_batches=16, order="1F1B").description
    assert "rank 0: keeps 4" in kept and "rank 0: keeps 16" in many.description


def test_a_run_that_was_measured_or_has_no_steps_cannot_be_played():
    for run in (recorded(hardware=None), recorded(rows=STEP[1:5])):
        with pytest.raises(LabError, match="another network"):
            widgets.what_if(run)


def test_numbers_stand_in_bars_that_have_room_for_them():
    from lablib.views import palette

    bars = [
        Bar(0, palette.FORWARD, 0, 1, 0.1, 0.8, "7"),
        Bar(0, palette.BACKWARD, 1, 1.001, 0.1, 0.8, "8"),
    ]
    strip = Strip("t", bars, ["rank 0"], [""], 30, 1.0, "s")
    shown = texts(draw(strip, Curve("c", {1: 5, 2: 4}, 2, "x", "ms")))
    assert "7" in shown and "8" not in shown
    assert {palette.FORWARD.label, palette.BACKWARD.label, "rank 0", "x"} <= set(shown)


def test_each_part_of_the_architecture_tells_its_role_when_chosen():
    controls = widgets.architecture()
    slider, page = controls.widget().children
    for part in diagrams.COMPONENTS + diagrams.ARROWS:
        slider.value = part.key
        shown = controls.figure(chosen=part.key)
        assert part.role in shown.description and shown.svg.count('r="17"') >= 1
        assert "<img" in page.value
    assert controls.figure().svg.count('r="17"') == 0
    with pytest.raises(LabError, match="no such part"):
        controls.figure(chosen="Z")

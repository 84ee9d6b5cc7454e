"""Diagrams are well-formed and described in words, and every number and letter is explained."""

import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from drawings import data_parallel, in_a_line

from lablib.errors import LabError
from lablib.hardware import Hardware, Link, get, names
from lablib.views import diagrams

SVG = "{http://www.w3.org/2000/svg}"
ROLES = [(rank, "worker", rank // 3) for rank in range(14)]


def texts(diagram):
    return ["".join(text.itertext()) for text in root(diagram).iter(f"{SVG}text")]


def root(diagram):
    return ElementTree.fromstring(diagram.svg)


def badges(diagram):
    return [text for text in texts(diagram) if re.fullmatch(r"\d+|[A-Z]", text)]


@pytest.mark.parametrize("diagram", [diagrams.architecture(), diagrams.cluster(ROLES)])
def test_a_diagram_is_well_formed_and_told_in_words(diagram):
    svg = root(diagram)
    assert svg.find(f"{SVG}title").text == diagram.title
    assert svg.find(f"{SVG}desc").text == diagram.description
    assert svg.get("role") == "img"


@pytest.mark.parametrize(
    "diagram",
    [
        diagrams.architecture(),
        diagrams.cluster(ROLES),
        diagrams.hardware(get("dgx-a100"), data_parallel(16)),
    ],
)
def test_a_diagram_has_its_own_paper_and_keeps_to_it(diagram):
    svg = root(diagram)
    width, height = (int(svg.get(side)) for side in ("width", "height"))
    paper = svg.find(f"{SVG}rect")
    assert (int(paper.get("width")), int(paper.get("height"))) == (width, height)
    for box in svg.iter(f"{SVG}rect"):
        x, y, w, h = (float(box.get(key, 0)) for key in ("x", "y", "width", "height"))
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height
    assert width <= 900


def test_every_number_and_letter_of_the_architecture_stands_in_the_drawing_and_in_the_legend():
    keys = {part.key for part in diagrams.COMPONENTS + diagrams.ARROWS}
    found = badges(diagrams.architecture())
    assert set(found) == keys
    assert all(found.count(key) >= 2 for key in keys)


def test_every_role_is_in_the_words_for_those_who_do_not_see_it():
    description = diagrams.architecture().description
    for part in diagrams.COMPONENTS + diagrams.ARROWS:
        assert part.role in description


def test_no_words_of_a_diagram_are_too_small():
    sizes = [
        float(text.get("font-size")) for text in root(diagrams.architecture()).iter(f"{SVG}text")
    ]
    assert min(sizes) >= 13


def test_the_cluster_shows_every_rank_with_its_role():
    shown = texts(diagrams.cluster([(0, "chief", 0), (1, "ps", 1)]))
    assert shown == ["Node 0", "rank 0", "chief", "Node 1", "rank 1", "ps", "network"]


def test_one_node_needs_no_network():
    assert "network" not in texts(diagrams.cluster([(0, "worker", 0)]))


def test_a_role_cannot_bring_markup():
    diagram = diagrams.cluster([(0, "<script>&", 0)])
    assert "<script>" not in diagram.svg
    assert "<script>&" in texts(diagram)
    assert "<script>" not in diagram._repr_mimebundle_()["text/html"]


def test_a_cluster_without_ranks_is_an_error():
    with pytest.raises(LabError, match="no rank"):
        diagrams.cluster([])


def test_a_diagram_is_saved_as_it_is(tmp_path):
    diagram = diagrams.architecture()
    assert diagram.save(tmp_path / "a.svg").read_text() == diagram.svg


# Hardware

MACHINE = Hardware("t4", nodes=2, per_node=4, within="pcie3", between=Link("10 Gbit/s", "50 us"))
SLOW = replace(MACHINE, nodes=16, slow={3: 2.0, 61: 3.0}, jitter=0.1)
MACHINES = {
    "two nodes": diagrams.hardware(MACHINE),
    "with a run": diagrams.hardware(MACHINE, data_parallel(8)),
    "with a small run": diagrams.hardware(MACHINE, data_parallel(3), steps=1),
    "slow, jitter": diagrams.hardware(SLOW, data_parallel(64, 2)),
    "degrading": diagrams.hardware(
        replace(MACHINE, between=Link("10 Gbit/s", "50 us", degrades_at_s=2, degrades_to=0.1))
    ),
    **{name: diagrams.hardware(get(name)) for name in names()},
    **{
        f"{name} with a run": diagrams.hardware(get(name), in_a_line(min(get(name).ranks, 8)))
        for name in names()
    },
}


@pytest.fixture(params=MACHINES)
def machine(request):
    return MACHINES[request.param]


def boxes(diagram):
    """Return (words, left, top, right, bottom) of every line of text, in the chosen font."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    for text in root(diagram).iter(f"{SVG}text"):
        words, size = "".join(text.itertext()), float(text.get("font-size"))
        weight = text.get("font-weight", "normal")
        outline = TextPath(
            (0, 0), words, size, prop=FontProperties(family="DejaVu Sans", weight=weight)
        )
        width, x = outline.get_extents().width, float(text.get("x"))
        left = x - {"middle": width / 2, "end": width}.get(text.get("text-anchor"), 0)
        yield words, left, float(text.get("y")) - 0.8 * size, left + width, float(text.get("y"))


def overlapping(found):
    return [
        (a[0], b[0])
        for a, b in itertools.combinations(found, 2)
        if a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]
    ]


def test_no_words_of_a_machine_collide_or_leave_its_paper(machine):
    found = list(boxes(machine))
    width, height = (int(root(machine).get(side)) for side in ("width", "height"))
    assert not overlapping(found)
    assert all(box[1] >= 0 and box[3] <= width and box[4] <= height for box in found)


def test_that_claim_can_fail():
    assert overlapping([("one", 0, 0, 20, 10), ("two", 19, 5, 40, 15)]) == [("one", "two")]


def test_the_words_of_a_device_stay_in_its_box(machine):
    devices = [
        tuple(float(box.get(key)) for key in ("x", "y", "width", "height"))
        for box in root(machine).iter(f"{SVG}rect")
        if box.get("width") == "94"
    ]
    for words, left, top, right, bottom in boxes(machine):
        for x, y, width, height in devices:
            if x < (left + right) / 2 < x + width and y < top < y + height:
                assert x < left and right < x + width and bottom < y + height, words


def test_a_machine_is_modelled_and_says_its_speeds(machine):
    assert machine.title.endswith("(modelled)")
    shown = " ".join(texts(machine))
    assert "/s, " in shown and "/s, " in machine.description
    assert root(machine).find(f"{SVG}desc").text == machine.description


def test_every_device_of_a_small_machine_has_its_name():
    shown = texts(diagrams.hardware(MACHINE))
    assert [text for text in shown if text.startswith("rank")] == [f"rank {n}" for n in range(8)]
    assert shown.count("t4") == 8
    assert "between nodes: 1.25 GB/s, 50 us" in shown


def test_what_is_not_drawn_is_counted():
    diagram = diagrams.hardware(get("dgx-a100"), data_parallel(64, 2))
    shown = texts(diagram)
    assert "and 13 more nodes" in shown and "8 nodes without a rank" in shown
    assert "and 13 more nodes, 8 nodes without a rank" in diagram.description
    assert "and 249" in texts(diagrams.hardware(get("tpu-v5e-pod")))
    assert "more nodes" not in " ".join(texts(diagrams.hardware(MACHINE)))


def test_slow_ranks_are_drawn_first_and_shaded():
    shown = texts(MACHINES["slow, jitter"])
    assert {"rank 3", "2 × slower", "rank 61", "3 × slower"} <= set(shown)
    fills = [box.get("fill") for box in root(MACHINES["slow, jitter"]).iter(f"{SVG}rect")]
    assert len([fill for fill in fills if fill == "#f6d3bf"]) == 2
    assert "rank 3 (2 times), rank 61 (3 times)" in MACHINES["slow, jitter"].description


def test_a_degrading_link_is_dashed_and_told():
    assert "from 2 s on, these links have 0.1 of this speed" in MACHINES["degrading"].description
    dashes = [
        MACHINES[name].svg.count('stroke-dasharray="9 5"') for name in ("degrading", "two nodes")
    ]
    assert dashes == [1, 0]


def test_traffic_is_laid_on_the_links_that_it_crosses():
    """Ranks 0 to 7 in a line, each sends to the next: only 3 to 4 is between the nodes."""
    shown = texts(diagrams.hardware(MACHINE, in_a_line(8, nbytes=1)))
    assert shown.count("out 1 kB, in 0 B") == 1 and shown.count("out 0 B, in 1 kB") == 1
    sizes = [text for text in shown if re.fullmatch(r"out \S+ \S+", text)]
    assert sizes[:4] == ["out 1 B", "out 10 B", "out 100 B", "out 0 B"]
    assert sizes[4:] == ["out 10 kB", "out 100 kB", "out 1 MB", "out 0 B"]


def widths(diagram):
    paths = (path.get("stroke-width") for path in root(diagram).iter(f"{SVG}path"))
    return {float(width) for width in paths if width}


def test_the_link_with_more_traffic_is_thicker():
    busy = widths(diagrams.hardware(MACHINE, in_a_line(8, nbytes=1)))
    assert max(busy) == 9.0 and len(busy) > 3
    assert widths(diagrams.hardware(MACHINE)) == {2.0, 4.0}


@pytest.mark.parametrize("clock", ["measured", "modelled"])
def test_the_clock_of_the_run_is_told_beside_the_machines(clock):
    diagram = diagrams.hardware(MACHINE, data_parallel(8, clock=clock), steps=range(1, 3))
    assert f"wire bytes of a run on 8 ranks ({clock}, steps 1 to 2 of 3)" in diagram.description
    assert "spread evenly over the others" in diagram.description


def test_a_run_that_does_not_fit_and_steps_that_are_not_there_are_errors():
    with pytest.raises(LabError, match="fewer devices"):
        diagrams.hardware(MACHINE, data_parallel(9))
    with pytest.raises(LabError, match="these steps"):
        diagrams.hardware(MACHINE, data_parallel(2), steps=9)

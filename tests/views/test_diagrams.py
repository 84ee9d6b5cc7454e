"""Claims about the diagrams: well-formed, told in words, every number and letter explained."""

import re
from xml.etree import ElementTree

import pytest

from lablib.errors import LabError
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


@pytest.mark.parametrize("diagram", [diagrams.architecture(), diagrams.cluster(ROLES)])
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

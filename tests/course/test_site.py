"""The site has every lab with its outputs, no solution, and loads nothing from the network."""

from __future__ import annotations

import json
import re

import pytest

from lablib.course import site
from lablib.errors import LabError

SOLVED = """def add(a, b):
    ### BEGIN SOLUTION
    return a + secret_of_the_solution
    ### END SOLUTION"""
LOADED = re.compile(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:)?//')


def notebook():
    cells = [
        dict(cell_type="markdown", id="a", metadata={}, source="# Lab 09 · A title\n\n## A part"),
        dict(cell_type="code", id="b", metadata={}, source=SOLVED, execution_count=1,
             outputs=[dict(output_type="stream", name="stdout", text="what it gave")]),
    ]  # fmt: skip
    return dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "solutions").mkdir()
    (tmp_path / "solutions" / "09_a.ipynb").write_text(json.dumps(notebook()))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "limits.md").write_text("# Known limits\n\nThere is one.\n")
    return tmp_path


def test_a_site_is_built_without_solutions_and_without_the_network(root):
    first = site.build(root / "site", root)
    page = (root / "site" / "09_a.html").read_text()
    assert "A title" in page and "what it gave" in page and "09_a.html" in first.read_text()
    assert "There is one." in (root / "site" / "limits.html").read_text()
    assert "Known limits" in first.read_text()
    assert "secret_of_the_solution" not in "".join(
        path.read_text(errors="replace") for path in (root / "site").rglob("*") if path.is_file()
    )
    assert not LOADED.search(page)
    assert sorted(path.name for path in root.iterdir()) == ["docs", "site", "solutions"]


def test_that_claim_can_fail():
    assert LOADED.search('<script src="https://cdn.example/x.js">')


def test_a_folder_with_something_else_is_left_alone(root):
    (root / "site").mkdir()
    (root / "site" / "thesis.tex").write_text("mine")
    with pytest.raises(LabError, match="other files"):
        site.build(root / "site", root)
    assert (root / "site" / "thesis.tex").read_text() == "mine"


def test_what_was_there_stays_when_it_cannot_be_built(root, monkeypatch):
    (root / "site").mkdir()
    (root / "site" / "index.html").write_text("the old one")
    monkeypatch.setattr(site, "_CONF", "raise ValueError('oh')")
    with pytest.raises(LabError, match="cannot build"):
        site.build(root / "site", root)
    assert (root / "site" / "index.html").read_text() == "the old one"

"""The README is short, and its links and those of docs/ are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_LINES_OF_THE_README = 150
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")


def dead_links(path: Path) -> list[str]:
    """Return the links of a page to files that do not exist."""
    return [link for link in LINK.findall(path.read_text()) if not (path.parent / link).exists()]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < MOST_LINES_OF_THE_README


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files(path):
    assert dead_links(path) == []


def test_that_claim_can_fail(tmp_path):
    (tmp_path / "a.md").write_text("[one](b.md), [two](a.md#part), [three](https://example.org)")
    assert dead_links(tmp_path / "a.md") == ["b.md"]


def test_the_readme_names_every_page_of_the_documentation():
    text = (ROOT / "README.md").read_text()
    assert [path.name for path in PAGES[2:] if f"docs/{path.name}" not in text] == []

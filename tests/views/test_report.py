"""The folder of a comparison is complete and self-contained, and all text is escaped."""

import gzip
import json
import math
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pandas
import pytest
from drawings import DEMO, data_parallel, row

from lablib.errors import LabError
from lablib.record.trace import Trace
from lablib.views import plots
from lablib.views.pages import comparison_report, comparison_table

HOSTILE = "<script>alert('|')</script>"


def comparison(rows, conditions=None, plot=lambda: plots.losses({"ddp": [2.0, 1.0]})):
    table = pandas.DataFrame(rows)
    runs = {
        (r["strategy"], r["framework"], r["ranks"]): SimpleNamespace(
            trace=data_parallel(r["ranks"]) if r["ranks"] > 1 else Trace(),
            history=SimpleNamespace(loss=[2.0, 1.0]),
        )
        for r in rows
    }
    return SimpleNamespace(
        table=table,
        runs=runs,
        conditions=conditions or {"cores": "2"},
        plot=plot,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "deep" / "out"
    figure = plots.comparison(pandas.DataFrame(DEMO))
    comparison_report.write(comparison(DEMO, plot=lambda: figure), folder)
    return folder


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found += [(tag, *pair) for pair in attributes if pair[0] in ("href", "src")]


def test_the_folder_holds_what_it_promises_and_nothing_else(folder):
    assert {path.name for path in folder.iterdir()} == {
        "index.html",
        "table.csv",
        "table.md",
        "figure.png",
        "figure.svg",
        "traces",
    }
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "figure.svg").read_text().count("<title>") == 1


def test_the_csv_holds_the_numbers_exactly(folder):
    pandas.testing.assert_frame_equal(
        pandas.read_csv(folder / "table.csv", keep_default_na=False, na_values=[""]),
        pandas.DataFrame(DEMO),
        check_dtype=False,
    )


def test_the_markdown_is_one_table_of_equal_columns(folder):
    lines = (folder / "table.md").read_text().splitlines()
    assert len(lines) == len(DEMO) + 2
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize("show", [comparison_table.text, comparison_table.page])
def test_what_is_the_same_in_every_row_is_said_once_and_what_is_unknown_in_some_is_not(show):
    rows = pandas.DataFrame({"ranks": [1, 4], "clock": ["measured"] * 2, "bubble": [0, math.nan]})
    shown = show(rows)
    assert "clock: measured" in shown and shown.count("measured") == 1
    assert "bubble: " not in shown and "0%" in shown and "–" in shown


def test_people_read_a_bound_as_a_bound(folder):
    assert "| ≤ 41% |" in (folder / "table.md").read_text()


def test_each_run_that_has_events_has_a_trace_that_perfetto_reads(folder):
    names = {path.name for path in (folder / "traces").iterdir()}
    assert names == {
        f"{r['strategy']}-{r['framework']}-{r['ranks']}.json.gz" for r in DEMO if r["ranks"] > 1
    }
    content = json.loads(gzip.decompress((folder / "traces" / "ddp-torch-2.json.gz").read_bytes()))
    assert content["traceEvents"]


def test_the_page_needs_no_network_and_its_links_lead_somewhere(folder):
    for tag, kind, target in Links((folder / "index.html").read_text()).found:
        if kind == "src":
            assert target.startswith("data:image/svg+xml;base64,")
        elif not target.startswith("https://ui.perfetto.dev"):
            assert tag == "a" and (folder / target).is_file()


def test_the_page_says_the_clock_and_what_it_ran_on(folder):
    page = (folder / "index.html").read_text()
    assert "<h1>Strategies compared (measured)</h1>" in page
    assert "<dt>cores</dt><dd>2</dd>" in page
    assert re.search(r'<img [^>]*alt="[^"]+speed-up', page)


def test_nothing_that_others_named_is_shown_unescaped(tmp_path):
    rows = [row(HOSTILE, "torch", 2, 1.0, 0.1)]
    page = comparison_report.write(comparison(rows, {HOSTILE: HOSTILE}), tmp_path).read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert") >= 4
    assert len((tmp_path / "table.md").read_text().splitlines()) == 3
    assert "alert('\\|')" in (tmp_path / "table.md").read_text()


def test_a_runs_name_cannot_leave_the_folder(tmp_path):
    rows = [row("../../escape", "torch", 2, 1.0, 0.1)]
    comparison_report.write(comparison(rows), tmp_path / "out")
    (trace,) = (tmp_path / "out" / "traces").iterdir()
    assert trace.name == ".._.._escape-torch-2.json.gz"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("path", ["file", "file/deeper", "/proc/lablib", "/dev/null/x"])
def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_done(path, tmp_path):
    (tmp_path / "file").write_text("mine")

    def plot():
        raise AssertionError("the comparison was drawn first")

    for attempt in (
        comparison_report.check_folder,
        lambda folder: comparison_report.write(SimpleNamespace(plot=plot), folder),
    ):
        with pytest.raises(LabError, match="cannot be written to this folder") as caught:
            attempt(tmp_path / path)
        assert path.rstrip("x").rstrip("/") in caught.value.saw
    assert (tmp_path / "file").read_text() == "mine"


def test_a_good_folder_is_made_and_left_empty(tmp_path):
    assert comparison_report.check_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert not [path for path in (tmp_path / "a").rglob("*") if path.is_file()]


def test_writing_twice_replaces_the_first(tmp_path):
    comparison_report.write(comparison(DEMO), tmp_path)
    comparison_report.write(comparison(DEMO[:2]), tmp_path)
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 3

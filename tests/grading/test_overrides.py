"""Points given by hand are stored unchanged, in a file that a spreadsheet may open."""

from __future__ import annotations

import csv
import io
import re
from itertools import product

import pytest

from lablib.grading.results import overrides, spreadsheet
from lablib.grading.results.overrides import Override

FORMULAS = ["=1+1", "+1", "-1", "@x", "|x", "%x", " =1", "\t=1", "'=1", '"=1', "\uff1d1"]
TEXTS = [
    "Nice.", "a;b", "it's", "'tis", "''=1", "two\nlines", "x\r\ny", "=", "'", "1 000,5", "é", "a,b",
    *FORMULAS,
    *(before + text for before, text in product(("a;", "a\n", "a\t", "a; '", ";;"), FORMULAS)),
]  # fmt: skip


def read_back(tmp_path, given):
    path = tmp_path / "overrides.csv"
    path.write_text(overrides.text_of(given), "utf-8", newline="")
    return overrides.read(path, [one.id for one in given], ["3.2"])


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_comment_is_read_back_as_it_was_given(tmp_path, text):
    given = [Override("jane", "3.2", 7 / 3, text.strip()), Override("=jane", "", None, "x")]
    assert read_back(tmp_path, given) == given
    assert spreadsheet.plain(spreadsheet.neutral(text)) == text


@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
@pytest.mark.parametrize("before", ["", "a;", "a\n", "a\r", "a\t", "a;\n "], ids=ascii)
def test_no_spreadsheet_takes_a_cell_for_a_formula(before, text):
    cell = before + text
    written = overrides.text_of([Override(cell, "3.2", 1.0, cell)])
    cells = [one for line in csv.reader(io.StringIO(written, newline="")) for one in line]
    parts = [part for one in cells for line in one.splitlines()
             for part in re.split("[;\t]", line)]  # fmt: skip
    assert not [part for part in parts if part.lstrip(" '\"\t")[:1] in tuple("=+-@|%\uff1d")
                and part and not part.startswith("'")]  # fmt: skip


def test_that_claim_can_fail():
    assert spreadsheet.neutral("=1") != "=1" and spreadsheet.neutral("x") == "x"


def test_a_spreadsheet_with_decimal_commas_is_understood(tmp_path):
    path = tmp_path / "overrides.csv"
    path.write_text('id;exercise;points;comment\njane;3.2;2,5;"a, b; c"\n', "utf-8-sig")
    assert overrides.read(path, ["jane"], ["3.2"]) == [Override("jane", "3.2", 2.5, "a, b; c")]


def test_who_types_an_id_in_another_normal_form_is_understood(tmp_path):
    path = tmp_path / "by-hand.csv"
    path.write_text("id,exercise,points,comment\nJose\u0301,3.2,1,\n", "utf-8")
    assert overrides.read(path, ["Jos\u00e9"], ["3.2"]) == [Override("Jos\u00e9", "3.2", 1.0)]

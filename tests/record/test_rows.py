"""Rows that a rank sends: each kind arrives as it was written, and forged rows are refused."""

from __future__ import annotations

import math

import pytest

from lablib.cluster.engine import messages, wire
from lablib.record import rows
from lablib.record.cost import Cost

RECORD = {"kind": "record", "logged": [], "cpu_s": 0.0, "peak_bytes": 0, "live_bytes": [],
          "clock_reads": []}  # fmt: skip
EVERY_KIND = [
    rows.StepBegun(0.5),
    rows.Computed("forward", (Cost(2e9, 8, "bf16", 3), Cost(1.0)), 0.25),
    rows.Issued(0, 1.0, "send", 8, (0, 1), "backward", "a.py:3", "world:0>1", 1),
    rows.Ended(0, 2.0),
    rows.Waited(0, 1.5, -1.0),
    rows.Derived(2.5, "send", 4, (1, 0), ""),
    rows.PhaseChanged(3.0, "other"),
    rows.Marked(3.5, "here"),
    rows.StepEnded(0.5, 4.0, 64),
    rows.Returned(0.25, 5.0),
]
FORGED = {
    "step begun": {"at_s": [None, "1", True, math.nan, math.inf, 10**400]},
    "computed": {
        "phase": ["", "sideways", None, []],
        "costs": [None, [3], [[-1, 0, "fp32", 1]], [[1, 0, "x" * 61, 1]],
                  [[1, 0, "fp32", 0.5]], [[1, math.inf, "fp32", 1]], [[[], 0, "fp32", 1]]],
        "cpu_s": [None, math.nan],
    },
    "issued": {
        "number": [-1, 0.5, True, 2**53 + 1], "at_s": [None], "name": ["", "x" * 61, 3, None],
        "nbytes": [-1, "8", 10**400], "group": [None, "01", [], [0], [0, None], [0, 2**53 + 1]],
        "phase": ["sideways"], "line": [None, "a.py", "x" * 201 + ":3"],
        "channel": [None, "x" * 4097], "order": [-1, None],
    },
    "ended": {"number": [None], "at_s": ["now"]},
    "waited": {"number": [7, []], "start_s": [None], "end_s": [math.nan]},
    "derived": {"name": [None], "nbytes": [-1], "group": [[]], "line": [3]},
    "phase changed": {"phase": ["sideways"]},
    "marked": {"label": [3, "x" * 1001]},
    "step ended": {"samples": [0.5, None]},
    "returned": {"start_s": [None], "end_s": [None]},
}  # fmt: skip


def sent():
    """The rows of every kind as the kernel receives them."""
    return wire.unpack(wire.pack(EVERY_KIND))


def read(rows):
    return messages.read(RECORD | {"rows": rows}).rows


def test_rows_of_every_kind_arrive_as_they_were_written():
    arrived = read(sent())
    assert arrived == EVERY_KIND
    assert [type(row) for row in arrived] == [type(row) for row in EVERY_KIND]


def test_the_tables_name_every_kind_of_row():
    assert sorted(FORGED) == sorted(row[0] for row in sent())


@pytest.mark.parametrize("kind", FORGED)
def test_a_row_that_no_recorder_writes_is_refused(kind):
    (place,) = (n for n, row in enumerate(sent()) if row[0] == kind)
    fields = type(EVERY_KIND[place]).__struct_fields__
    for name, values in FORGED[kind].items():
        for value in values:
            forged = sent()
            forged[place][1 + fields.index(name)] = value
            with pytest.raises(ValueError):
                pytest.fail(f"{name} may be {value!r}: {read(forged)}")


@pytest.mark.parametrize(
    "forged",
    [None, {}, "ended", [None], [[]], [["ended"]], [["ended", 0, 1.0, 2.0]],
     [["no kind", 0, 1.0]], [[["ended"], 0, 1.0]], [[3, 0, 1.0]]],
    ids=str,
)  # fmt: skip
def test_what_is_no_row_is_refused(forged):
    with pytest.raises(ValueError):
        read(forged)

"""Claims about traces: they stay sorted, survive a file, and viewers can open their export."""

import gzip
import json
import os
from collections import defaultdict

import pytest

from lablib.errors import LabError
from lablib.record import trace_file
from lablib.record.trace import Event, Trace


def message(rank, start_s, end_s, name="all_reduce", **more):
    return Event(rank, "message", name, start_s, end_s, **more)


TRACE = Trace(
    [
        message(1, 0.5, 2.0, nbytes=4000, group=(0, 1), phase="backward", line="cell [7], line 5"),
        message(1, 1.0, 3.0, nbytes=4000, group=(0, 1), phase="backward"),
        Event(0, "step", "step 0", 0.25, 4.0),
        Event(0, "compute", "compute", 0.25, 1.0),
        Event(0, "wait", "all_reduce", 1.0, 3.0),
        Event(1, "mark", "saved <here>", 3.5, 3.5),
        message(0, 3.0, 4.0, "send", nbytes=8, group=(0, 1), derived=True),
    ],
    clock="modelled",
    ranks=3,
)


def test_events_are_sorted_by_start_then_rank():
    late, early, tied = message(0, 2, 3), message(1, 1, 2), message(0, 1, 2)
    assert list(Trace([late, early, tied])) == [tied, early, late]


def test_a_part_of_a_trace_is_a_trace_of_the_same_run():
    for part in (TRACE[1:3], TRACE.of(rank=1), TRACE.of(kind="step"), TRACE.of(name="send")):
        assert (type(part), part.clock, part.ranks) == (Trace, "modelled", 3)
    assert [event.name for event in TRACE.of(rank=0, kind="message")] == ["send"]
    assert TRACE[-1] == list(TRACE)[-1]


def test_a_trace_cannot_be_changed():
    with pytest.raises(AttributeError):
        TRACE.clock = "measured"
    with pytest.raises(AttributeError):
        TRACE[0].rank = 5
    with pytest.raises(TypeError):
        TRACE[0] = TRACE[1]


def test_merging_the_ranks_gives_the_whole_back():
    assert Trace.merge(TRACE.by_rank().values()) == TRACE


def test_merging_two_clocks_is_refused():
    with pytest.raises(LabError, match="different clocks"):
        Trace.merge([Trace([], "measured"), Trace([], "modelled")])


def test_duration_is_from_the_first_start_to_the_last_end():
    assert TRACE.duration_s == 3.75
    assert Trace().duration_s == 0.0


def test_repr_is_one_true_line():
    assert repr(TRACE) == "Trace(7 events, 3 ranks, 3.75 s, modelled)"


def test_the_html_summary_escapes_what_a_learner_named():
    shown = TRACE._repr_html_()
    assert "saved &lt;here&gt;" in shown
    assert "<here>" not in shown


@pytest.mark.parametrize(
    "wrong", [dict(clock="wall"), dict(events=[message(2, 0, 1)], ranks=2)], ids=["clock", "rank"]
)
def test_a_trace_that_contradicts_itself_is_refused(wrong):
    with pytest.raises(LabError):
        Trace(**wrong)


# Files


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
@pytest.mark.parametrize("trace", [TRACE, Trace()], ids=["events", "empty"])
def test_a_saved_trace_loads_equal(trace, name, tmp_path):
    assert Trace.load(trace.save(tmp_path / name)) == trace


def test_equality_of_loaded_traces_can_fail(tmp_path):
    assert Trace.load(TRACE.save(tmp_path / "trace.json")) != Trace(TRACE, "measured", 3)


def test_gz_is_compressed_and_equal_traces_give_equal_files(tmp_path):
    one, two = (TRACE.save(tmp_path / name).read_bytes() for name in ("1.json.gz", "2.json.gz"))
    assert gzip.decompress(one).startswith(b"{")
    assert one == two


def test_numpy_numbers_can_be_saved(tmp_path):
    np = pytest.importorskip("numpy")
    event = message(np.int64(0), np.float64(0), np.float64(1), nbytes=np.int64(8), group=(0, 1))
    assert Trace.load(Trace([event]).save(tmp_path / "t.json"))[0] == message(
        0, 0.0, 1.0, nbytes=8, group=(0, 1)
    )


def _with(content, **changes):
    return json.dumps(content | changes).encode()


def _field(position, value):
    def change(content):
        row = list(content["events"][0])
        row[position] = value
        return _with(content, events=[row])

    return change


@pytest.mark.parametrize(
    "damage, says",
    [
        (lambda content: b"", "not JSON"),
        (lambda content: b"\xff\xfe", "not JSON"),
        (lambda content: b"[" * 100_000, "not JSON"),
        (lambda content: b'{"lablib_trace": NaN}', "not JSON"),
        (lambda content: b"[]", "lablib_trace is missing"),
        (lambda content: b'{"traceEvents": []}', "lablib_trace is missing"),
        (lambda content: _with(content, lablib_trace=99), "version 99"),
        (lambda content: _with(content, clock="wall"), "clock"),
        (lambda content: _with(content, clock=["measured"]), "clock"),
        (lambda content: _with(content, ranks=-1), "ranks"),
        (lambda content: _with(content, ranks=1), "1 ranks do not have"),
        (lambda content: _with(content, events={}), "events is not a list"),
        (lambda content: _with(content, events=[[0]]), "event 0 is not a list of 10"),
        (_field(0, True), "rank is True"),
        (_field(0, -1), "rank is -1"),
        (_field(0, 10**9), "rank is 1000000000"),
        (_field(1, "explosion"), "kind"),
        (_field(1, []), "kind"),
        (_field(2, 7), "name"),
        (_field(2, "\ud800"), "name"),
        (_field(3, "0"), "start_s"),
        (_field(4, 1e999), "not JSON"),
        (_field(4, -5), "ends before it starts"),
        (_field(5, 0.5), "nbytes"),
        (_field(6, [0, "1"]), "group"),
        (_field(7, "sideways"), "phase"),
        (_field(9, 1), "derived"),
        (lambda content: gzip.compress(json.dumps(content).encode())[:-20], "damaged"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_it_and_what_is_wrong(damage, says, tmp_path):
    path = tmp_path / "wrong.json"
    content = json.loads(TRACE.save(tmp_path / "right.json").read_text())
    path.write_bytes(damage(content))
    with pytest.raises(LabError) as caught:
        Trace.load(path)
    assert str(path) in caught.value.saw
    assert says in caught.value.saw


def test_a_number_that_overflows_is_not_a_time(tmp_path):
    path = TRACE.save(tmp_path / "trace.json")
    path.write_text(path.read_text().replace("0.25", "1e999", 1))
    with pytest.raises(LabError, match="start_s is inf"):
        Trace.load(path)


def test_reading_is_bounded_even_when_the_file_is_small(tmp_path, monkeypatch):
    monkeypatch.setattr(trace_file, "MOST_BYTES", 10_000)
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b" " * 1_000_000))
    with pytest.raises(LabError, match="more than 10000 bytes"):
        Trace.load(path)


def test_what_could_not_be_read_again_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(trace_file, "MOST_BYTES", 100)
    with pytest.raises(LabError, match="too large"):
        TRACE.save(tmp_path / "trace.json")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_a_lab_error(tmp_path):
    with pytest.raises(LabError, match="cannot be read"):
        Trace.load(tmp_path / "none.json")


@pytest.mark.parametrize("write", [Trace.save, Trace.export])
def test_a_file_is_written_whole_or_not_at_all(write, tmp_path, monkeypatch):
    path = write(TRACE, tmp_path / "trace.json")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(LabError, match="No space left"):
        write(TRACE[:1], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", ["no/such/folder/t.json", "", "a_file/t.json"])
def test_a_path_that_cannot_be_written_is_a_lab_error(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("")
    with pytest.raises(LabError, match="cannot be written"):
        TRACE.save(path)


# Export


def exported(trace, tmp_path):
    return json.loads(trace.export(tmp_path / "export.json").read_text("utf-8"))


def slices_by_thread(rows):
    threads = defaultdict(list)
    for row in rows:
        if row["ph"] == "X":
            threads[row["pid"], row["tid"]].append((row["ts"], row["ts"] + row["dur"]))
    return threads


def overlapping(spans):
    spans = sorted(spans)
    return [pair for pair in zip(spans, spans[1:], strict=False) if pair[1][0] < pair[0][1]]


def test_no_two_slices_of_an_exported_thread_overlap(tmp_path):
    threads = slices_by_thread(exported(TRACE, tmp_path)["traceEvents"])
    assert not any(overlapping(spans) for spans in threads.values())


def test_that_claim_can_fail():
    assert overlapping([(event.start_s, event.end_s) for event in TRACE.of(rank=1)])


def test_every_thread_and_process_of_the_export_has_its_name(tmp_path):
    rows = exported(TRACE, tmp_path)["traceEvents"]
    named = defaultdict(set)
    for row in rows:
        if row["name"] == "thread_name":
            named[row["pid"]].add(row["args"]["name"])
    processes = {row["pid"]: row["args"]["name"] for row in rows if row["name"] == "process_name"}
    assert processes == {1000: "rank 0, modelled", 1001: "rank 1, modelled"}
    assert named[1000] == {"main", "compute", "messages", "wait"}
    assert named[1001] == {"marks", "messages", "messages 2"}
    assert {row["pid"] for row in rows} == set(processes)


def test_the_export_counts_microseconds_from_the_first_event(tmp_path):
    content = exported(TRACE, tmp_path)
    found = [row for row in content["traceEvents"] if row.get("cat") == "message"]
    first = min(found, key=lambda row: row["ts"])
    assert (first["ts"], first["dur"]) == (250_000, 1_500_000)
    assert first["args"] == {
        "bytes": 4000,
        "group": [0, 1],
        "phase": "backward",
        "line": "cell [7], line 5",
    }
    assert content["otherData"] == {"clock": "modelled"}


def test_arrows_lead_from_each_send_to_its_own_recv(tmp_path):
    pair = dict(nbytes=8, group=(0, 1))
    trace = Trace(
        [
            message(0, 1.0, 1.5, "send", **pair),
            message(1, 0.0, 2.0, "recv", **pair),
            message(0, 3.0, 3.5, "send", **pair),
            message(1, 4.0, 4.5, "recv", **pair),
            message(1, 5.0, 6.0, "send", nbytes=8, group=(1, 0)),  # nobody receives it
        ]
    )
    rows = exported(trace, tmp_path)["traceEvents"]
    starts = [(row["id"], row["pid"], row["ts"]) for row in rows if row["ph"] == "s"]
    ends = [(row["id"], row["pid"], row["ts"]) for row in rows if row["ph"] == "f"]
    assert starts == [(1, 1000, 1e6), (2, 1000, 3e6)]
    assert ends == [(1, 1001, 1e6), (2, 1001, 4e6)]


@pytest.mark.parametrize(
    "received, slice_at_the_arrow",
    [((0.0, 2.0), ("transfer", 1e6, 2e6)), ((1.5, 2.0), ("recv", 1.5e6, 2e6))],
    ids=["before its send", "after it"],
)
def test_no_arrow_leads_to_a_slice_that_starts_before_its_own(
    received, slice_at_the_arrow, tmp_path
):
    """Perfetto would reverse it."""
    pair = dict(nbytes=8, group=(0, 1))
    step = Event(0, "step", "step 0", 0.0, 2.0)
    ends = message(0, 1.0, 1.2, "send", **pair), message(1, *received, "recv", **pair)
    trace = Trace([step, *ends])
    rows = exported(trace, tmp_path)["traceEvents"]
    (arrow,) = [row for row in rows if row["ph"] == "f"]
    there = [
        (row["name"], row["ts"], row["ts"] + row["dur"])
        for row in rows
        if row["ph"] == "X" and row["pid"] == arrow["pid"] and row["ts"] <= arrow["ts"]
    ]
    assert max(there, key=lambda found: found[1]) == slice_at_the_arrow


def test_arrows_follow_tags_that_cross_and_none_leads_back_in_time(tmp_path):
    """Perfetto reports an error for a slice that ends before it starts."""
    pair = dict(nbytes=8, group=(0, 1))
    sends = message(0, 0.0, 1.0, "send", **pair), message(0, 6.0, 7.0, "send", **pair)
    recvs = message(1, 0.0, 7.0, "recv", **pair), message(1, 0.5, 1.0, "recv", **pair)
    rows = exported(Trace([*sends, *recvs]), tmp_path)["traceEvents"]
    assert [(row["ts"], row["dur"]) for row in rows if row["name"] == "transfer"] == [(6e6, 1e6)]
    assert [row["ts"] for row in rows if row["ph"] == "f"] == [0.5e6, 6e6]
    part = exported(Trace([sends[1], recvs[1]]), tmp_path)["traceEvents"]
    assert not [row for row in part if row["ph"] in "sf" or row["name"] == "transfer"]


def test_an_export_holds_any_character_as_it_is(tmp_path):
    """Perfetto refuses a whole file for one that JSON escapes as two surrogates."""
    name = "done \N{SLIGHTLY SMILING FACE}, \N{LATIN SMALL LETTER E WITH ACUTE}"
    trace = Trace([Event(0, "mark", name, 0.0, 0.0), Event(0, "mark", "\ud83d", 1.0, 1.0)])
    content = trace.export(tmp_path / "export.json").read_text("utf-8")
    assert f'"{name}"' in content
    assert "\\u" not in content


def test_an_empty_trace_exports(tmp_path):
    assert exported(Trace(), tmp_path)["traceEvents"] == []

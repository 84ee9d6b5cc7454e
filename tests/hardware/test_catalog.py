"""Every constant of the catalog names its source; errors in users' files are explained."""

from __future__ import annotations

import importlib.resources
import textwrap
import tomllib

import pytest

from lablib.errors import LabError
from lablib.hardware import Hardware, Link, get, load, names

TEXT = (importlib.resources.files("lablib.hardware") / "catalog.toml").read_text("utf-8")
TABLES = tomllib.loads(TEXT)

# Machines that a learner looks for.
ASKED = """
    laptop ethernet-1 ethernet-10 ethernet-25 ethernet-100 dgx-v100 t4 dgx-a100 dgx-h100 tpu-v4-pod
    tpu-v5e-pod edge-4g raspberry-pi two-sites
""".split()


def test_the_machines_that_were_asked_for_are_there():
    assert set(names()) >= set(ASKED)
    assert all(get(name).name == name for name in names())


def without_source(tables):
    """Return every constant of a device or a link without a source."""
    for kind in ("devices", "links"):
        for name, table in tables[kind].items():
            constants = {**table, **table.get("flops", {})}
            for key, value in constants.items():
                if key in ("about", "flops"):
                    continue
                source = value.get("source") if isinstance(value, dict) else None
                if source not in tables["sources"]:
                    yield f"{name}.{key}"


def test_every_constant_has_a_source_with_title_place_and_date():
    assert list(without_source(TABLES)) == []
    for source in TABLES["sources"].values():
        assert {"title", "url", "read"} <= set(source) <= {"title", "url", "read", "date"}
        assert all(source.values())


def test_that_claim_can_fail():
    bare = tomllib.loads(
        '[sources]\n[devices.d]\nflops.fp32 = "1 FLOP/s"\n[links.l]\nlatency = "1 s"'
    )
    assert list(without_source(bare)) == ["d.fp32", "l.latency"]


def test_every_source_is_used():
    assert [name for name in TABLES["sources"] if f'source = "{name}"' not in TEXT] == []


def test_faster_networks_are_faster_in_the_model():
    clusters = [get(f"ethernet-{speed}") for speed in (1, 10, 25, 100)]
    seconds = [c.message_s("all_reduce", 100e6, range(8)) for c in clusters]
    assert seconds == sorted(seconds, reverse=True)
    assert len({cluster.device for cluster in clusters}) == 1


def test_hardware_is_returned_as_it_is():
    hardware = get("t4")
    assert get(hardware) is hardware


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(LabError) as error:
        get("dgx-a1000")
    assert "did you mean 'dgx-a100'?" in str(error.value)


MINE = """\
    [devices.mine]
    flops = { fp32 = "1 TFLOP/s" }
    bandwidth = "100 GB/s"
    memory = { is = "8 GB", source = "the box it came in" }

    [links.office]
    bandwidth = "10 Gbit/s"
    latency = "0 s"

    [machines.both]
    device = "mine"
    nodes = 2
    per_node = 4
    within = "pcie3"     # from the catalog
    between = "office"
    slow = { 2 = 3.0 }
    jitter = 0.1
"""


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(textwrap.dedent(text))
    return path


def test_a_users_file_describes_a_machine(tmp_path):
    hardware = get(write(tmp_path, MINE))
    assert isinstance(hardware, Hardware)
    assert hardware.ranks == 8 and hardware.slow == {2: 3.0} and hardware.jitter == 0.1
    assert hardware.device.flop_per_s == {"fp32": 1e12}
    assert hardware.within == get("t4").within and hardware.between == Link(1.25e9, 0.0)


def test_a_link_of_a_users_file_degrades(tmp_path):
    later = 'latency = "0 s"\n    degrades_at = "2 s"\n    degrades_to = 0.1'
    hardware = get(write(tmp_path, MINE.replace('latency = "0 s"', later)))
    before_s, after_s = (hardware.message_s("send", 1.25e9, (0, 4), at_s=s) for s in (1.9, 2.0))
    assert (before_s, after_s) == (1.0, 10.0)


def test_a_file_with_several_machines_is_loaded_by_name(tmp_path):
    path = write(tmp_path, MINE + '\n    [machines.one]\n    device = "t4"\n')
    assert list(load(path)) == ["both", "one"]
    with pytest.raises(LabError, match="does not describe exactly one machine") as error:
        get(path)
    assert "load(" in error.value.do
    with pytest.raises(LabError, match="does not describe exactly one machine") as error:
        get(write(tmp_path, ""))
    assert "[machines.mine]" in error.value.do


LATER = 'latency = "0 s"\n    degrades_at = "2 s"\n    degrades_to ='


@pytest.mark.parametrize(
    "right, wrong, line, words",
    [
        ('"10 Gbit/s"', '"10 Gbps"', 7, "'10 Gbit/s' or '900 GB/s'"),
        ('"10 Gbit/s"', "10", 7, "'10 Gbit/s' or '900 GB/s'"),
        ('"10 Gbit/s"', '"-10 Gbit/s"', 7, "must be above 0"),
        ('"10 Gbit/s"', '"0 Gbit/s"', 7, "must be above 0"),
        ('latency = "0 s"', 'latency = "1 mbit"', 8, "'50 us' or '2 ms'"),
        (
            'latency = "0 s"',
            'latency = "0 s"\n    degrades_to = 0.1',
            6,
            "needs both degrades_at_s and degrades_to",
        ),
        (
            'latency = "0 s"',
            'latency = "0 s"\n    degrades_at = "2 s"',
            6,
            "needs both degrades_at_s and degrades_to",
        ),
        ('latency = "0 s"', f"{LATER} 0", 10, "above 0 and at most 1"),
        ('latency = "0 s"', f"{LATER} 1.5", 10, "above 0 and at most 1"),
        ('latency = "0 s"', "", 6, 'add a line such as latency = "50 us"'),
        ('latency = "0 s"', 'latency = "0 s"\n    lattency = "1 s"', 9, "did you mean 'latency'?"),
        ('"1 TFLOP/s"', '"1 TFLOPS"', 2, "'312 TFLOP/s'"),
        ("fp32 =", "float32 =", 2, "choose one of fp8"),
        ('flops = { fp32 = "1 TFLOP/s" }', "", 1, "add a line such as flops"),
        ('memory = { is = "8 GB"', 'memory = { was = "8 GB"', 4, "choose one of is, source"),
        ("nodes = 2", "nodes = -2", 12, "not negative"),
        ("nodes = 2", 'nodes = "2"', 12, "a whole number"),
        ("nodes = 2", "nodes = 0", 12, "at least 1"),
        ("per_node = 4", "per_node = 0", 13, "at least 1"),
        ("nodes = 2", "node = 2", 12, "did you mean 'nodes'?"),
        ('device = "mine"', "", 10, "needs a device"),
        ('device = "mine"', 'device = "mime"', 11, "did you mean 'mine'?"),
        ('"pcie3"', '"pcie33"', 14, "did you mean 'pcie3'?"),
        ('between = "office"', "", 10, "give between="),
        ("2 = 3.0", "9 = 3.0", 16, "ranks from 0 to 7"),
        ("2 = 3.0", "2 = 0", 16, "is not above 0"),
        ("jitter = 0.1", "jitter = inf", 17, "0.1 for a tenth"),
        ("jitter = 0.1", 'all_reduce = "rings"', 17, "no such all-reduce algorithm"),
        ("2 = 3.0", "2 = -3.0", 16, "not negative"),
        ("2 = 3.0", '"²" = 3.0', 16, "ranks from 0 to 7"),
        ("nodes = 2", "nodes = 2\n    nodes = 3", 13, "write each key only once"),
        ("jitter = 0.1", "jitter = none", 17, "not valid TOML"),
        ("[machines.both]", "[machine.both]", 10, "did you mean 'machines'?"),
        ("[machines.both]", "[[machines.both]]", 10, "write it as [machines.both]"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_its_cure(tmp_path, right, wrong, line, words):
    assert MINE.count(right) == 1
    with pytest.raises(LabError) as error:
        get(write(tmp_path, MINE.replace(right, wrong)))
    told = str(error.value)
    assert words in told
    assert f"line {line}" in told and "mine.toml" in told
    assert error.value.do


def test_a_mistake_in_a_table_of_its_own_is_told_with_its_line(tmp_path):
    tables = (
        MINE.replace("    slow = { 2 = 3.0 }\n", "") + "\n    [machines.both.slow]\n    2 = 3\n"
    )
    assert get(write(tmp_path, tables)).slow == {2: 3}
    with pytest.raises(LabError, match="line 19: slow={9: 3}"):
        get(write(tmp_path, tables.replace("2 = 3\n", "9 = 3\n")))


@pytest.mark.parametrize("name", ['"mine.2"', "'mine.2'", '"my own"'])
def test_a_mistake_under_a_name_in_quotes_is_told_with_its_line(tmp_path, name):
    named = MINE.replace("devices.mine", f"devices.{name}").replace('"mine"', name)
    assert get(write(tmp_path, named)).device.name == name.strip("\"'")
    with pytest.raises(LabError, match="line 3: bandwidth"):
        get(write(tmp_path, named.replace("100 GB/s", "100 GBps")))


def test_a_file_may_start_with_a_byte_order_mark(tmp_path):
    path = write(tmp_path, MINE)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert get(path).ranks == 8


def test_a_file_that_is_not_there_is_told(tmp_path):
    for path in (tmp_path / "none.toml", 3):
        with pytest.raises(LabError, match="cannot be read"):
            load(path)


def test_what_names_no_hardware_is_told():
    for wrong in (["t4"], None, 3):
        with pytest.raises(LabError, match="There is no hardware"):
            get(wrong)

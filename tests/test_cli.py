"""python -m lablib: what it prints where, and its exit status."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import lablib
from lablib import cli
from lablib.computer import missing_package
from lablib.computer.facts import ROOT, Finding, Report
from lablib.course import learners_copies
from lablib.errors import LabError
from lablib.views.pages.comparison_table import text as table_text

COMMANDS = ("doctor", "compare", "lab", "reset", "submit", "release", "grade", "author")


def test_without_a_command_it_prints_its_help(capsys):
    assert cli.main([]) == 0
    printed = capsys.readouterr().out
    assert all(command in printed for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0 and f"python -m lablib {command}" in capsys.readouterr().out


def test_the_version_is_that_of_the_library(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"lablib {lablib.__version__}\n"


def test_an_unknown_command_is_asked_wrongly():
    with pytest.raises(SystemExit) as ended:
        cli.main(["no-such-command"])
    assert ended.value.code == 2


def test_it_runs_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lablib", "doctor", "--json"],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1), done.stderr


NEEDS_PACKAGES = [
    "compare --ranks 1",
    "grade {out} --lab 03 --out {out}/grades",
    "site --out {out}/site",
]


@pytest.mark.parametrize("command", NEEDS_PACKAGES)
def test_a_python_without_the_packages_names_the_one_to_use(command, tmp_path):
    bare = [str(Path(sys.executable).resolve()), "-S", "-P", "-m", "lablib"]
    arguments = [word.format(out=f"{tmp_path}/of me") for word in command.split()]
    done = subprocess.run([*bare, *arguments], env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path,
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr and not done.stdout
    assert re.search(rf"no module '\w+' in {re.escape(bare[0])}", done.stderr)
    assert shlex.join([f"{ROOT}/.venv/bin/python", "-m", "lablib", *arguments]) in done.stderr


def test_nor_does_lab_end_in_a_traceback_there(monkeypatch, capsys):
    monkeypatch.setattr(learners_copies, "bring", lambda: [])
    monkeypatch.setattr(learners_copies, "find_spec", lambda name: None)
    assert cli.main(["lab"]) == 2 and "'jupyterlab'" in capsys.readouterr().err


@pytest.mark.parametrize("prefix, says", [(ROOT / ".venv", "pip install"), ("/usr", "use the Py")])
def test_what_to_do_about_a_missing_package_depends_on_the_python(monkeypatch, prefix, says):
    monkeypatch.setattr(sys, "prefix", str(prefix))
    assert says in missing_package.explained("numpy", ["doctor"]).do
    assert says in missing_package.explained("numpy").do


USES = ["lab.Cluster(2)", "lab.train('ddp')", "lab.check", "from lablib import compare"]


@pytest.mark.parametrize("use", USES)
def test_a_kernel_without_the_packages_names_the_python_to_use(use):
    bare = [str(Path(sys.executable).resolve()), "-S", "-P", "-c", f"import lablib as lab; {use}"]
    done = subprocess.run(bare, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
                          timeout=60)  # fmt: skip
    assert "no module " in done.stderr and f"{ROOT}/.venv/bin/python" in done.stderr
    assert done.stderr.splitlines()[-3].startswith("lablib.computer.missing_package.Package")


@pytest.mark.parametrize("file", ["lablib", "lablib/__main__.py"])
def test_the_kit_as_a_file_says_how_to_start_it(file):
    done = subprocess.run([sys.executable, ROOT / file, "doctor"], capture_output=True, text=True,
                          timeout=60)  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "") and "-m lablib" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_in_the_kits_own_imports_is_not_taken_for_a_missing_package(monkeypatch):
    def broken():
        raise ModuleNotFoundError("no module", name="lablib.gone")

    monkeypatch.setattr("lablib.doctor_report.doctor", broken)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["doctor"])


def test_a_python_that_is_too_old_is_told_so():
    """Check what is possible here: the texts, and the syntax of files that an old Python reads."""
    for name in ("__init__.py", "__main__.py"):
        ast.parse((ROOT / "lablib" / name).read_text(), feature_version=(3, 7))
    code = "import runpy, sys; sys.version_info = (3, 9, 1)"
    code += "; runpy.run_module('lablib', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 2 and "too old" in done.stderr and "Traceback" not in done.stderr
    assert "Python 3.9" in done.stderr and "3.11 or newer" in done.stderr


@pytest.mark.parametrize("state, status", [("ok", 0), ("limited", 0), ("missing", 1)])
def test_doctor_answers_with_its_exit_status(monkeypatch, capsys, state, status):
    report = Report((Finding("torch", state, "?", "make lab", needed=True),))
    monkeypatch.setattr("lablib.doctor_report.doctor", lambda: report)
    assert cli.main(["doctor"]) == status
    assert cli.main(["doctor", "--json"]) == status
    assert state in capsys.readouterr().out


# --- compare, without real training


COLUMNS = {
    "strategy": ["single", "multi_worker_mirrored"],
    "framework": ["torch", "tensorflow"],
    "ranks": [1, 4],
    "clock": ["measured", "measured"],
    "samples_per_s": [1234.5678, 2345.6789],
    "speedup": [1.0, 1.9],
    "efficiency": [1.0, 0.475],
    "comm_share": [float("nan"), 0.125],
    "payload_bytes_per_step": [0.0, 1.5e6],
    "peak_bytes_per_rank": [3.1e8, 3.2e8],
    "final_loss": [0.1234567, 0.1234568],
}


@pytest.fixture
def compared(monkeypatch, tmp_path):
    """Replace the real comparison, and collect its arguments."""
    import pandas

    asked = []

    def compare(**wanted):
        print("a word of the framework")
        asked.append(wanted)
        return types.SimpleNamespace(
            table=pandas.DataFrame(COLUMNS), conditions={"left out": "gpipe on 9: too few blocks"}
        )

    comparison = types.ModuleType("lablib.training.compare")
    comparison.compare = compare
    monkeypatch.setitem(sys.modules, "lablib.training.compare", comparison)
    monkeypatch.setattr(
        "lablib.views.pages.comparison_report.write", lambda *_: tmp_path / "index.html"
    )
    return asked


def test_compare_passes_on_what_was_asked_and_nothing_else(compared, tmp_path):
    out = str(tmp_path / "out")
    assert cli.main(["compare", "--out", out]) == 0
    options = "--task bytes-gpt --ranks 1,2 --strategies single,ddp --framework torch --steps 7"
    options += " --batch 64 --seed 3 --device cpu --hardware dgx-a100"
    assert cli.main(["compare", *options.split(), "--out", out]) == 0
    demo = {"seed": 0, "ranks": [1, 2, 4]}
    full = {"task": "bytes-gpt", "seed": 3, "steps": 7, "batch": 64, "hardware": "dgx-a100"}
    full |= {
        "ranks": [1, 2],
        "device": "cpu",
        "strategies": ["single", "ddp"],
        "framework": "torch",
    }
    assert compared == [demo, full]


def test_compare_takes_arguments_that_the_real_one_has():
    import inspect

    from lablib.training.compare import compare

    known = set(inspect.signature(compare).parameters)
    assert known >= {"task", "seed", "steps", "batch", "hardware", "ranks", "strategies"}
    assert "framework" in known


def test_what_was_left_out_is_named_with_the_reason(compared, tmp_path, capsys):
    assert cli.main(["compare", "--out", str(tmp_path)]) == 0
    assert "Left out:\n  gpipe on 9: too few blocks\n" in capsys.readouterr().out


def test_the_table_fits_a_terminal_and_the_page_is_named(compared, tmp_path, capsys):
    assert cli.main(["compare", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert all(len(line) <= 100 for line in printed.splitlines()[:-1])
    assert "clock: measured" in printed and "multi_worker_mirrored" in printed
    assert "1.5 MB" in printed and printed.rstrip().endswith("index.html")


def test_a_table_that_mixes_clocks_says_so_in_every_row_and_still_fits():
    import pandas

    table = pandas.DataFrame(COLUMNS | {"clock": ["measured", "modelled"]})
    *_, first, second = table_text(table).splitlines()
    assert "measured" in first and "modelled" in second
    assert max(map(len, table_text(table).splitlines())) <= 100


def test_measured_speed_ups_with_their_ranges_fit_a_terminal_too():
    import pandas

    ranges = {"speedup_low": [1.0, 1.72], "speedup_high": [1.0, 2.05], "finding": ["", "faster"]}
    more = {"bubble": [0.0, 0.25], "memory_counted": ["process", "tensors"]}
    more |= {"wire_bytes_per_rank": [0.0, 1.16e6], "comm_counted": ["none", "messages"]}
    lines = table_text(pandas.DataFrame(COLUMNS | ranges | more)).splitlines()
    assert max(map(len, lines[1:])) <= 100
    assert "1.9 (1.72 to 2.05)" in lines[-1] and "1.16 MB" in lines[-1]


def test_with_json_there_is_nothing_but_json_on_stdout(compared, tmp_path, capsys):
    assert cli.main(["compare", "--json", "--out", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["ranks"] for row in rows] == [1, 4] and rows[0]["comm_share"] is None


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--ranks", "1,x"], "--ranks must be whole numbers"),
        (["--out", "/proc/lablib"], "cannot be written"),
    ],
)
def test_asked_wrongly_is_said_before_anything_runs(compared, capsys, arguments, says):
    assert cli.main(["compare", *arguments]) == 2
    printed = capsys.readouterr()
    assert says in printed.err and not printed.out and not compared


class RankFailed(LabError):
    """An error like the cluster's own: a kind of LabError."""


@pytest.mark.parametrize(
    "raised, status",
    [
        (LabError("There is no such task.", saw="'x'", do="choose"), 2),
        (RankFailed("rank 1 of 4 was killed by signal SIGKILL"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_an_exit_status_and_never_a_traceback(
    monkeypatch, compared, tmp_path, capsys, raised, status
):
    def fail(**_):
        raise raised

    monkeypatch.setattr(sys.modules["lablib.training.compare"], "compare", fail)
    assert cli.main(["compare", "--out", str(tmp_path)]) == status
    printed = capsys.readouterr()
    assert str(raised) in printed.err and "Traceback" not in printed.err and not printed.out


# --- lab and reset


@pytest.fixture
def root(tmp_path):
    """Make a kit with two labs and a picture, in a folder with a space in its name."""
    (tmp_path / "a kit" / "labs" / "img").mkdir(parents=True)
    for name, text in [("00_start_here.ipynb", "zero"), ("03_data.ipynb", "three")]:
        (tmp_path / "a kit" / "labs" / name).write_text(text)
    (tmp_path / "a kit" / "labs" / "img" / "ring.svg").write_text("<svg/>")
    return tmp_path / "a kit"


def test_the_learner_gets_copies_of_labs_and_pictures(root):
    assert learners_copies.bring(root) == []
    assert (root / "my_labs" / "03_data.ipynb").read_text() == "three"
    assert (root / "my_labs" / "img" / "ring.svg").read_text() == "<svg/>"


def test_a_copy_is_never_overwritten_and_a_newer_lab_is_announced(root):
    learners_copies.bring(root)
    (root / "my_labs" / "03_data.ipynb").write_text("my work")
    assert learners_copies.bring(root) == []
    (root / "labs" / "03_data.ipynb").write_text("three, second edition")
    (news,) = learners_copies.bring(root)
    assert "03_data" in news and "reset 03" in news
    assert (root / "my_labs" / "03_data.ipynb").read_text() == "my work"


def test_a_lab_that_the_learner_lost_comes_back(root):
    learners_copies.bring(root)
    (root / "my_labs" / "03_data.ipynb").unlink()
    learners_copies.bring(root)
    assert (root / "my_labs" / "03_data.ipynb").read_text() == "three"


@pytest.mark.parametrize("name", ["03", "3", "03_data", "03_data.ipynb"])
def test_reset_restores_one_lab_and_keeps_the_old_copy(root, name):
    learners_copies.bring(root)
    for lab in ("00_start_here", "03_data"):
        (root / "my_labs" / f"{lab}.ipynb").write_text("my work")
    learners_copies.reset(name, root)
    kept = [path.read_text() for path in (root / "my_labs").glob("03_data.*.ipynb")]
    assert kept == ["my work"]
    assert (root / "my_labs" / "03_data.ipynb").read_text() == "three"
    assert (root / "my_labs" / "00_start_here.ipynb").read_text() == "my work"


def test_reset_twice_does_not_lose_the_work(root):
    learners_copies.bring(root)
    (root / "my_labs" / "03_data.ipynb").write_text("my work")
    learners_copies.reset("03", root)
    learners_copies.reset("03", root)
    kept = [path.read_text() for path in (root / "my_labs").glob("03_data.*.ipynb")]
    assert kept == ["my work"]


def test_resets_in_the_same_second_each_keep_a_copy(root, monkeypatch):
    monkeypatch.setattr(learners_copies.time, "strftime", lambda form: "2026-01-01_00-00-00")
    learners_copies.bring(root)
    for work in ("first", "second", "third"):
        (root / "my_labs" / "03_data.ipynb").write_text(work)
        learners_copies.reset("03", root)
    kept = {path.read_text() for path in (root / "my_labs").glob("03_data.*.ipynb")}
    assert kept == {"first", "second", "third"}


def test_a_reset_that_fails_leaves_the_work_in_its_place(root, monkeypatch):
    learners_copies.bring(root)
    (root / "my_labs" / "03_data.ipynb").write_text("my work")
    copy = learners_copies._copy

    def full(source, target):
        if source.parent.name == "labs":
            raise OSError(28, "No space left on device", str(target))
        copy(source, target)

    monkeypatch.setattr(learners_copies, "_copy", full)
    with pytest.raises(LabError, match="cannot be written"):
        learners_copies.reset("03", root)
    assert (root / "my_labs" / "03_data.ipynb").read_text() == "my work"


def test_after_a_reset_the_lab_is_not_announced_again(root):
    learners_copies.bring(root)
    (root / "labs" / "03_data.ipynb").write_text("three, second edition")
    assert learners_copies.bring(root)
    learners_copies.reset("03", root)
    assert learners_copies.bring(root) == []


def test_a_lab_that_does_not_exist_is_answered_with_those_that_do(root):
    with pytest.raises(LabError) as error:
        learners_copies.reset("42", root)
    assert "00_start_here, 03_data" in str(error.value)


def test_a_place_where_nothing_can_be_written_is_said(root):
    (root / "my_labs").write_text("a file in the way")
    with pytest.raises(LabError, match="cannot be written"):
        learners_copies.bring(root)


def test_jupyter_listens_on_the_loopback_and_opens_a_browser_only_where_one_shows(root):
    shown, hidden = (
        learners_copies.jupyter_command(browser, root=root) for browser in (True, False)
    )
    assert "--ServerApp.ip=127.0.0.1" in shown and "--ServerApp.ip=127.0.0.1" in hidden
    assert "--no-browser" in hidden and "--no-browser" not in shown
    assert ("--allow-root" in shown) is (os.geteuid() == 0)


def free_port():
    """Return a port that was free a moment ago; if it is taken, Jupyter tries the next ones."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def fetched(address):
    """Return the page; try again, because Jupyter prints its address before it listens."""
    give_up_s = time.monotonic() + 60
    while True:
        try:
            return urllib.request.urlopen(address, timeout=60).read()
        except urllib.error.URLError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.1)


def test_jupyterlab_starts_on_the_course_page_and_prints_its_address(root, tmp_path):
    for path in (root / "labs").glob("*.ipynb"):
        shutil.copy(ROOT / "labs" / "00_start_here.ipynb", path)
    code = (
        "from pathlib import Path; from lablib.course import learners_copies\n"
        f"root = Path({str(root)!r}); learners_copies.bring(root)\n"
        f"learners_copies.open_jupyter(browser=False, port={free_port()}, root=root)"
    )
    home = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=dict(os.environ, **home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        address = next(
            word for line in process.stdout for word in line.split() if "?token=" in word
        )
        assert address.startswith("http://127.0.0.1:") and "/course?" in address
        assert b"00_start_here.ipynb" in fetched(address)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_the_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "lablib", "reset", "no-such-lab"],
        cwd=Path(ROOT),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_jupyter_asks_nothing_over_the_first_lab_and_keeps_what_the_user_chose(tmp_path):
    learners_copies._ask_nothing(tmp_path)
    (path,) = tmp_path.rglob("overrides.json")
    assert "fetchNews" in path.read_text()
    path.write_text("{}")
    learners_copies._ask_nothing(tmp_path)
    assert path.read_text() == "{}"

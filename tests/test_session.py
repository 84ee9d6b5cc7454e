"""The session's own checks: no process is left, and nothing outside of its folders changes.

In CI, no test is skipped without a message.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
LEAVES_ONE = """
import subprocess, sys
def test_that_leaves_a_grandchild_with_a_session_of_its_own():
    code = "import subprocess; p = subprocess.Popen(['sleep', '60'], start_new_session=True)"
    subprocess.run([sys.executable, "-c", code], check=True)
"""
CLEAN = """
import subprocess
def test_that_waits_for_its_child():
    subprocess.run(["true"], check=True)
"""
CHANGES = """
import os, tempfile
from pathlib import Path
from lablib.files import home
ROOT = Path(__file__).parents[1]
def test_that_changes_the_checkout():
    (ROOT / "demo").mkdir()
    (ROOT / "demo" / "index.html").write_text("a page")
    (ROOT / ".lablib" / "logs" / "old").unlink()
    os.utime(ROOT / "README.md", ns=(1, 1))
    (ROOT / "tests" / "conftest.py").chmod(0o600)
    (ROOT / ".git" / "hooks").mkdir()
    (ROOT / ".git" / "index").write_text("written by git")
    tempfile.mkdtemp(prefix="lablib-")
def test_that_writes_where_it_may(tmp_path):
    for folder in (tmp_path, home(), Path.home()):
        (folder / "mine").write_text("mine")
    tempfile.mkdtemp()
"""
SKIPS = """
import pytest
@pytest.mark.skip(reason="{reason}")
def test_left_out(): pass
def test_done(): pass
"""


def session(folder, test, *options, **environment):
    """Run one test file with a copy of our conftest; return (exit status, output)."""
    for name in ("tests", ".lablib/logs", ".git"):
        (folder / name).mkdir(parents=True)
    (folder / "README.md").write_text("A checkout.")
    (folder / ".lablib" / "logs" / "old").write_text("a developer's own log")
    (folder / "tests" / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "tests" / "test_it.py").write_text(test)
    (folder / "pytest.ini").write_text("[pytest]\n")
    plain = {name: text for name, text in os.environ.items() if name != "LABLIB_STRICT_SKIPS"}
    # Importing plugins takes half of a short session's time, so omit those that it does not need.
    path = {"PYTHONPATH": str(CONFTEST.parents[1]), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, str(folder)],
        env=plain | path | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_process_that_a_test_left_fails_the_session_and_is_named(tmp_path):
    status, output = session(tmp_path, LEAVES_ONE)
    pids = re.findall(r"no_process_is_left - pid (\d+) .*sleep 60", output)
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    assert (status, len(pids)) == (1, 1), output
    assert "1 passed, 1 error" in output.splitlines()[-1]


@pytest.mark.parametrize("options", [(), ("-p", "xdist.plugin", "-n", "2")])
def test_a_clean_session_passes(tmp_path, options):
    status, output = session(tmp_path, CLEAN, *options)
    assert status == 0, output
    assert "1 passed" in output.splitlines()[-1]


@pytest.mark.parametrize("options", [(), ("-p", "xdist.plugin", "-n", "2")])
def test_what_a_test_changes_outside_of_the_sessions_folders_fails_the_session(tmp_path, options):
    status, output = session(tmp_path, CHANGES, *options)
    found = re.findall(r"nothing_else_is_changed - (.*)", output)
    assert found[:-1] == [
        "made .git/hooks", "removed .lablib/logs/old", "changed README.md", "made demo",
        "made demo/index.html", "changed tests/conftest.py",
    ], output  # fmt: skip
    assert re.fullmatch(r"left lablib-\w+", found[-1])
    assert status == 1 and "2 passed, 7 errors" in output.splitlines()[-1]


def test_what_writes_into_the_home_folder_finds_the_sessions_own():
    import IPython.paths
    import jupyter_core.paths
    import matplotlib

    from lablib.files import home

    session_folder = Path(tempfile.gettempdir()).parent
    assert session_folder.name.startswith("lablib-tests-")
    for folder in (
        Path.home(), home(), IPython.paths.get_ipython_dir(), matplotlib.get_configdir(),
        matplotlib.get_cachedir(), jupyter_core.paths.jupyter_config_dir(),
        jupyter_core.paths.jupyter_data_dir(), jupyter_core.paths.jupyter_runtime_dir(),
    ):  # fmt: skip
        assert Path(folder).is_relative_to(session_folder)


@pytest.mark.parametrize(
    "reason, strict, expected",
    [
        ("needs chromium: sudo apt install chromium", "1", 1),
        ("needs chromium: sudo apt install chromium", "", 0),
        ("needs a GPU", "1", 0),
    ],
)
def test_a_skip_fails_strict_sessions_unless_it_needs_a_gpu(tmp_path, reason, strict, expected):
    test = SKIPS.format(reason=reason)
    status, output = session(tmp_path, test, LABLIB_STRICT_SKIPS=strict)
    assert status == expected, output
    assert f"1 x {reason}" in output


def test_what_a_test_needs_is_looked_up_before_it_runs(tmp_path):
    test = "import pytest\n@pytest.mark.needs('chromium')\ndef test_page(): assert False\n"
    status, output = session(tmp_path, test, PATH=str(tmp_path))
    assert status == 0 and "needs chromium: sudo apt install chromium" in output, output

"""Requirements of tests, folders for what tests write, and checks of every session.

A session ends with two checks: no process is left, and nothing has changed outside of the session's
own folders.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import site
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil
import pytest

from lablib.computer import facts

with contextlib.suppress(ImportError):
    # Some tests load both frameworks into this process; a rank loads only one. The triton that
    # comes with torch for CUDA crashes if it is loaded after TensorFlow.
    import triton  # noqa: F401

NAME = "LABLIB_TEST_SESSION"
VANISH_WITHIN_S = 5
CHECKOUT = Path(__file__).resolve().parents[1]
# Written by the set-up, and by the caches of Python, pytest and ruff.
NOT_LOOKED_AT = {".venv", "__pycache__", ".pytest_cache", ".ruff_cache"}
OF_GIT = {"hooks", "config"}  # git itself writes the rest of .git
# Variables that make programs write somewhere else than into the home folder.
BEFORE_HOME = """
    JUPYTER_CONFIG_DIR JUPYTER_DATA_DIR JUPYTER_RUNTIME_DIR IPYTHONDIR MPLCONFIGDIR KERAS_HOME
    XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME XDG_RUNTIME_DIR XDG_STATE_HOME
""".split()
_session = pytest.StashKey[pytest.Session]()
_folder = pytest.StashKey[Path]()
_before = pytest.StashKey[dict]()


def pytest_configure(config):
    config.addinivalue_line(
        "markers", 'needs(what): skip without it; "bubblewrap", "chromium" or "gpu"'
    )
    if not hasattr(config, "workerinput"):
        # Every process that a test starts inherits this name, even if its parent changes. A session
        # inside of another session has a longer name, so that it checks only its own processes.
        os.environ[NAME] = f"{os.environ.get(NAME, '')}/{uuid.uuid4()}"
        # Tests share the cores, so a thread that waits for another one must not spin: a rank with
        # two threads took ten times as much processor time beside another rank.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # Otherwise every rank compiles the kit again.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        config.stash[_before] = state_of(CHECKOUT)
        config.stash[_folder] = _write_only_into_a_folder_of_the_session()


def _write_only_into_a_folder_of_the_session() -> Path:
    """Make a folder; this process and its children use it as home folder and instead of /tmp."""
    # Only for pytest's own folders: pytest keeps them for three sessions and removes them itself.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    # The packages of the real home folder.
    os.environ.setdefault("PYTHONUSERBASE", site.getuserbase())
    for name in BEFORE_HOME:
        os.environ.pop(name, None)
    folder = Path(tempfile.mkdtemp(prefix="lablib-tests-"))
    folder.chmod(0o755)  # some tests run as another user
    for name, variable in (("home", "HOME"), ("tmp", "TMPDIR"), ("lablib", "LABLIB_HOME")):
        (folder / name).mkdir()
        os.environ[variable] = str(folder / name)
    os.environ["LABLIB_GUESSES"] = "skip"  # there is no learner who could guess
    tempfile.tempdir = None  # so that Python reads TMPDIR again
    return folder


def pytest_unconfigure(config):
    if _folder in config.stash:
        shutil.rmtree(config.stash[_folder], ignore_errors=True)


def state_of(checkout: Path) -> dict[str, tuple]:
    """Return {path: mode, size and time} of every file, and the names of all folders.

    Files that git ignores are included. No program can choose the time of a file's last change
    (ctime), which a change of the mode also updates.
    """
    found = {}
    for where, folders, files in os.walk(checkout):
        folders[:] = [name for name in folders if name not in NOT_LOOKED_AT]
        if where == os.path.join(checkout, ".git"):
            folders[:], files = (OF_GIT.intersection(names) for names in (folders, files))
        found |= {os.path.relpath(os.path.join(where, name), checkout): () for name in folders}
        for name in files:
            path = os.path.join(where, name)
            status = os.lstat(path)
            found[os.path.relpath(path, checkout)] = (
                status.st_mode, status.st_size, status.st_ctime_ns,
            )  # fmt: skip
    return found


def changes(before: dict[str, tuple], folder: Path) -> list[str]:
    """Return what the session changed in the checkout and left in its temporary folder."""
    after = state_of(CHECKOUT)
    paths = sorted(path for path in before.keys() | after.keys()
                   if before.get(path) != after.get(path))  # fmt: skip
    verbs = {(True, True): "changed", (True, False): "removed", (False, True): "made"}
    found = [f"{verbs[path in before, path in after]} {path}" for path in paths]
    # The folders of this process's own tasks are removed when it ends.
    ours = set((folder / "tmp").glob(f"lablib-task-{os.getpid()}-*"))
    left = sorted(set((folder / "tmp").glob("lablib-*")) - ours)
    return found + [f"left {path.name}" for path in left]


# The slowest files, slowest first. The workers of pytest-xdist begin with them, so that no slow
# file is left for the end.
LONGEST = """
    test_notebooks test_browser test_exercises test_tensorflow test_training test_dtensor
    test_restart test_box test_hostile test_whole_labs test_cluster test_ways_to_answer test_grading
    test_modelled test_processes test_tensorflow_memory test_frameworks test_relay test_lost_box
    test_handing_in test_asynchronous test_comparison test_private test_canaries
    test_canaries_of_tensorflow
""".split()


def pytest_collection_modifyitems(items):
    items.sort(key=_place)


def _place(item):
    return LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)


def pytest_runtest_setup(item):
    for mark in item.iter_markers("needs"):
        lack = what_is_lacking(mark.args[0])
        if lack:
            pytest.skip(lack)


def what_is_lacking(need: str) -> str:
    """Return why a test with this requirement cannot run here, and how to change that; or ""."""
    if need == "gpu":
        return "" if shutil.which("nvidia-smi") else "needs a GPU"
    if facts.find_command(need):
        return ""
    return f"needs {need}: {facts.install_command(need)}"


def pytest_sessionstart(session):
    session.config.stash[_session] = session


def pytest_terminal_summary(terminalreporter, config):
    if hasattr(config, "workerinput"):
        # This is a worker of pytest-xdist: the whole session is checked once, by its controller.
        return
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", ())]
    if reasons:
        terminalreporter.section("skipped, and why")
        for reason in sorted(set(reasons)):
            terminalreporter.line(f"{reasons.count(reason)} x {reason.removeprefix('Skipped: ')}")
    if os.environ.get("LABLIB_STRICT_SKIPS") == "1":
        for reason in sorted({reason for reason in reasons if "needs a GPU" not in reason}):
            _fail(terminalreporter, config, "no_test_is_skipped", reason)
    for process in processes_left():
        _fail(terminalreporter, config, "no_process_is_left", process)
    for change in changes(config.stash[_before], config.stash[_folder]):
        _fail(terminalreporter, config, "nothing_else_is_changed", change)


def _fail(reporter, config, claim, message):
    """Report an error of the session: in its list, its last line and its exit status."""
    where = ("tests/conftest.py", 0, claim)
    failure = pytest.TestReport(f"tests/conftest.py::{claim}", where, {}, "failed", message, "call")
    reporter.stats.setdefault("error", []).append(failure)
    config.stash[_session].exitstatus = pytest.ExitCode.TESTS_FAILED


def processes_left() -> list[str]:
    """Return the processes of this session that are still alive after some time, in words."""
    if "lablib.cluster.local.launch" in sys.modules:
        sys.modules[
            "lablib.cluster.local.launch"
        ].close_all()  # a zygote lives as long as its kernel
    give_up_s = time.monotonic() + VANISH_WITHIN_S
    while (left := list(filter(None, map(_words, _ours())))) and time.monotonic() < give_up_s:
        time.sleep(0.05)
    return left


def _ours():
    ours = {process.pid: process for process in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter():
        try:
            if process.environ().get(NAME, "").startswith(os.environ[NAME]):
                ours[process.pid] = process
        except (psutil.Error, OSError):
            continue  # it has ended, or belongs to another user
    ours.pop(os.getpid(), None)
    return ours.values()


def _words(process):
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return f"pid {process.pid} ({process.status()}): {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return ""
